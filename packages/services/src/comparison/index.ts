export { closeFindings, confirmDelivery, lockBatch, redriveForgotten, type UndecidedBatchRow } from "./reconcile-deliveries-db.ts";
export { type DeliveryFinding, reconcileDeliveries, type ReconcileDeliveriesResult } from "./reconcile-deliveries.ts";

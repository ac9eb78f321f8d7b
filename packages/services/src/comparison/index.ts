export { type UndecidedBatchRow, closeFindings, confirmDelivery, lockBatch, redriveForgotten } from "./reconcile-deliveries-db.ts";
export { type DeliveryFinding, type ReconcileDeliveriesResult, reconcileDeliveries } from "./reconcile-deliveries.ts";

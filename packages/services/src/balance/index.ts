export { createAutumnBalances } from "./autumn-balances.ts";
export { listReadOrgs, readBillingNow, readReconciliations, writeAllRates, writeReconcileWanted } from "./db.ts";
export { type ReconcileReport, reconcileBalance, reconcileBalances, reconcileDueOrgs, requestReconcile } from "./reconcile-balance.ts";
export type { RemoteBalances } from "./remote-balance.ts";

export { createAutumnBalances } from "./autumn-balances.ts";
export { isKept, listReadOrgs, readBillingNow, readReconciliations, writeAllRates, writeReconcileWanted } from "./db.ts";
export { reconcileBalance, reconcileBalances, reconcileDueOrgs, type ReconcileReport, requestReconcile } from "./reconcile-balance.ts";
export type { RemoteBalances } from "./remote-balance.ts";

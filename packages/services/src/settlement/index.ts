export { requestFlush, takeFlushRequests } from "./settlement-circuit-db.ts";
export { endWaitForBalance, ensureDeployment, readDeploymentId, redriveBatch } from "./settlement-db.ts";
export type { SettlementProblem } from "./settlement-options.ts";
export { settle, type SettlementResult } from "./settlement.ts";

/** What no other noun and no process asks for: statements that the scale benchmark measures one by one, and parts that a test calls alone. */
export {
  beginReading,
  hasNewerReading,
  listOrgsToReconcile,
  lockUnposted,
  readFirstSightDoubt,
  writeRates,
  writeReadingProblem,
} from "../src/balance/db.ts";
export { countLiveSessions, listOrgsToMove, writeState } from "../src/billing-gate/db.ts";
export { checkBillingGate } from "../src/billing-gate/gate.ts";
export { countSourceRows, readGaps } from "../src/billing/audit-db.ts";
export { ingestSpendRows, readEngineMark, readLookBackStart } from "../src/billing/db.ts";
export { listComparableOrgs, readBooks, readComparableBatches, readDecided } from "../src/comparison/reconcile-deliveries-db.ts";
export { countMirrorRows, listKeysWithoutTeam, readMirrorEnd } from "../src/import/spend-import-db.ts";
export { importSpendRows } from "../src/import/spend-import.ts";
export {
  claimUntoldKey,
  decideBudgets,
  insertReservation,
  listOrgsToRefresh,
  lockReservations,
  reapReservations,
  releaseHeld,
  releaseReservations,
  updateSpentOfNewKeys,
  writeSeen,
} from "../src/key-budgets/db.ts";
export { countStrayEvents, ensurePartitions } from "../src/ledger/retention-db.ts";
export { readLowWaterMark } from "../src/ledger/retention.ts";
export { compareSourceWithLedger, MOST_OVERDUE } from "../src/reports/status-db.ts";
export { readBatchStates, readOpenEvents, readOpenReviews } from "../src/reports/usage-db.ts";
export { findLiveToken, writeLastUse } from "../src/service-tokens/db.ts";
export { takeAgentsToAsk } from "../src/sessions/agent-watch-db.ts";
export { selectModelCosts } from "../src/sessions/cost-db.ts";
export { selectSessions, sumBilledEvents, sumUnbilledSpend } from "../src/sessions/db.ts";
export type { ReapOptions, ReapResult } from "../src/sessions/reap-sessions.ts";
export {
  selectEndedWithKeys,
  selectExpiredSessions,
  selectLaunched,
  selectSessionEvents,
  selectUnfinished,
} from "../src/sessions/sandbox-db.ts";
export type { WatchResult } from "../src/sessions/watch-agents.ts";
export { claimDueBatches, type ClaimedBatch } from "../src/settlement/claim-batches-db.ts";
export { closeCircuit, enterCircuit } from "../src/settlement/settlement-circuit-db.ts";
export {
  type AttemptRecord,
  beginAttempt,
  finishAttempt,
  flagForgottenKeys,
  hadBalance,
  lockAccountsToSeal,
  readWaitingOrgs,
  recordOutcome,
  releaseClaims,
  sealBatches,
  takeOrgsWithoutBalance,
} from "../src/settlement/settlement-db.ts";
export { flagForgottenTopUps, isTopUpAllowed, listOrgsToTopUp } from "../src/top-up/db.ts";
export { claimDueEvents } from "../src/webhook-events/db.ts";
export { SIGNATURE_HEADER, verifyWebhook } from "../src/webhook-events/signature.ts";

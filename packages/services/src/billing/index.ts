export { type AuditResult, auditCompleteness } from "./audit.ts";
export { BATCHES_UNDER_WAY, GATES, foldCounts } from "./counts-db.ts";
export { findChunkEnd } from "./db.ts";
export { type SpendSyncResult, flushRecentSpend, sweepSpend, syncRecentSpend, syncSpend } from "./spend-sync.ts";

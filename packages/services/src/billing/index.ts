export { auditCompleteness, type AuditResult } from "./audit.ts";
export { BATCHES_UNDER_WAY, foldCounts, GATES } from "./counts-db.ts";
export { findChunkEnd } from "./db.ts";
export { flushRecentSpend, type SpendSyncResult, sweepSpend, syncRecentSpend, syncSpend } from "./spend-sync.ts";

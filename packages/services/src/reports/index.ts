export { compareWithSink, type SinkComparison } from "./compare-with-sink.ts";
export { examineSink } from "./examine-sink.ts";
export { type ExplainedBatchRow, type ExplainedReviewRow, readBatch, readReviews } from "./explain-db.ts";
export { explainBilling, type ExplainedBatch, type ExplainedEvent, type Explanation } from "./explain.ts";
export { checkRange, exportEvents } from "./export.ts";
export { describeOrg, listOrgs, type OrgReport, requireKnownOrg } from "./org-report.ts";
export { reportBody } from "./report-body.ts";
export {
  type AttentionRow,
  readAttention,
  readBalances,
  readDelivery,
  readOpenFindings,
  readRecentlyBroken,
  readSourceLag,
} from "./status-db.ts";
export { checkCompleteness, type Completeness, getOperatorStatus, nameResting, type OperatorStatus, recentRequestsFrom } from "./status.ts";
export {
  getBillingStatus,
  getOrgUsage,
  type LedgerBatch,
  type LedgerEvent,
  type LedgerPage,
  listLedger,
  type OrgUsage,
  SPEND_REVIEW_REASONS,
  type UsageTotals,
} from "./usage.ts";

export { type SinkComparison, compareWithSink } from "./compare-with-sink.ts";
export { examineSink } from "./examine-sink.ts";
export { type ExplainedBatchRow, type ExplainedReviewRow, readBatch, readReviews } from "./explain-db.ts";
export { type ExplainedBatch, type ExplainedEvent, type Explanation, explainBilling } from "./explain.ts";
export { checkRange, exportEvents } from "./export.ts";
export { type OrgReport, describeOrg, listOrgs, requireKnownOrg } from "./org-report.ts";
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
export { type Completeness, type OperatorStatus, checkCompleteness, getOperatorStatus, nameResting, recentRequestsFrom } from "./status.ts";
export {
  type LedgerBatch,
  type LedgerEvent,
  type LedgerPage,
  type OrgUsage,
  SPEND_REVIEW_REASONS,
  type UsageTotals,
  getBillingStatus,
  getOrgUsage,
  listLedger,
} from "./usage.ts";

export { MOVE_ACCOUNTS } from "./accounts-db.ts";
export {
  type AdjustmentChunk,
  adjustByCorrectionRows,
  adjustChangedRows,
  adjustOriginalsOfCorrections,
  countDifferences,
} from "./corrections-db.ts";
export { IS_IN_BATCH, JOIN_BATCH, readUsageByModel } from "./event-batches-db.ts";
export { lockIngest } from "./ingest-lock-db.ts";
export {
  beginSweep,
  clearAlert,
  endSweep,
  findMonthEnd,
  hasAlert,
  raiseAlert,
  readOldestStart,
  readOpenAlerts,
  readSourceMark,
  writeSweepPosition,
} from "./retention-db.ts";
export { type PartitionUpkeep, maintainPartitions, previewRetirement, retireMonth, watchSourceRetention } from "./retention.ts";
export { RETIRED_REVIEW_KEY, isRetired, quarantineRetiredChanges } from "./retired-changes-db.ts";
export {
  CORRECTED_REQUEST_ID,
  HAS_NO_EVENT,
  IS_CORRECTION,
  JOIN_OWNER,
  REVIEW_REASON,
  ROW_HASH,
  ROW_START,
  type SourceRange,
  hasNoEventWithin,
  isWithin,
  plainAmount,
  plainSpend,
} from "./source-rows-db.ts";

export { MOVE_ACCOUNTS } from "./accounts-db.ts";
export {
  adjustByCorrectionRows,
  adjustChangedRows,
  type AdjustmentChunk,
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
export { maintainPartitions, type PartitionUpkeep, previewRetirement, retireMonth, watchSourceRetention } from "./retention.ts";
export { isRetired, quarantineRetiredChanges, RETIRED_REVIEW_KEY } from "./retired-changes-db.ts";
export {
  CORRECTED_REQUEST_ID,
  HAS_NO_EVENT,
  hasNoEventWithin,
  IS_CORRECTION,
  IS_OF_ANOTHER_KEY,
  isWithin,
  JOIN_OWNER,
  plainAmount,
  plainSpend,
  REVIEW_REASON,
  ROW_HASH,
  ROW_START,
  type SourceRange,
} from "./source-rows-db.ts";

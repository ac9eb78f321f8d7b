export {
  findSpendLog,
  hasSpendLogs,
  insertSpendLogFrom,
  listNewestSpendLogs,
  listRepriceable,
  listSpendLogs,
  type RepriceableRow,
  type RepriceFilter,
  type SpendLogRow,
  type StoredSpendLog,
} from "./db.ts";
export { type SpendGroup, type SpendSum, type SpendSumFilter, sumSpend, totalSpend } from "./sums-db.ts";
export { storableCount, storableJson } from "./storable.ts";

export {
  findSpendLog,
  hasSpendLogs,
  insertSpendLogFrom,
  listRepriceable,
  listSpendLogs,
  type RepriceableRow,
  type RepriceFilter,
  type SpendLogRow,
  type StoredSpendLog,
} from "./db.ts";
export { storableCount, storableJson } from "./storable.ts";

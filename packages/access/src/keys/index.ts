export {
  areKeysOurs,
  type CallerRow,
  clearSpendOfBudget,
  clearKeySpend,
  deleteExpiredKeys,
  findCaller,
  type KeyFields,
  type KeyRow,
  type KeyState,
  listKeys,
  listKeysDueForReset,
  listUsableKeys,
} from "./db.ts";
export { findKeyNames, findKeys, listKeyAliases } from "./list-db.ts";
export { changeKey, mintKey, requireKey, revokeKeys, revokeKeysOf } from "./keys.ts";
export { ADMIN_USER_ID, hashKey, hashOfKeyOrHash } from "./virtual-key.ts";

export { type CallerRow, findCaller, type KeyState, listUsableKeys } from "./callers-db.ts";
export {
  areKeysOurs,
  clearSpendOfBudget,
  clearKeySpend,
  deleteExpiredKeys,
  type KeyFields,
  type KeyRow,
  listKeys,
  listKeysDueForReset,
} from "./db.ts";
export { currentHashOf, readKeyId, readKeyIds } from "./key-hashes-db.ts";
export { findKeyNames, findKeys, listKeyAliases } from "./list-db.ts";
export { changeKey, mintKey, requireKey, revokeKeys, revokeKeysOf } from "./keys.ts";
export { regenerateKey } from "./regenerate.ts";
export { ADMIN_USER_ID, hashKey, hashOfKeyOrHash } from "./virtual-key.ts";

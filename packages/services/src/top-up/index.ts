export { createAutumnTopUpProvider } from "./autumn-top-up.ts";
export { type TopUpPolicy, listOrgsWithPolicy } from "./db.ts";
export {
  type PackView,
  type PolicyView,
  listPacks,
  readTopUpPolicy,
  removeTopUpPolicy,
  resetTopUpBreaker,
  setTopUpPolicy,
} from "./policy.ts";
export { settlePack } from "./settle-pack.ts";
export type { TopUpProvider } from "./top-up-provider.ts";
export { topUpDueOrgs } from "./top-up.ts";

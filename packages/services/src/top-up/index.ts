export { createAutumnTopUpProvider } from "./autumn-top-up.ts";
export { listOrgsWithPolicy, type TopUpPolicy } from "./db.ts";
export {
  listPacks,
  type PackView,
  type PolicyView,
  readTopUpPolicy,
  removeTopUpPolicy,
  resetTopUpBreaker,
  setTopUpPolicy,
} from "./policy.ts";
export { settlePack } from "./settle-pack.ts";
export type { TopUpProvider } from "./top-up-provider.ts";
export { topUpDueOrgs } from "./top-up.ts";

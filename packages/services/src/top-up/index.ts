export { createAutumnTopUpProvider } from "./autumn-top-up.ts";
export { type TopUpPolicy, listOrgsWithPolicy, readPacks, readPolicy } from "./db.ts";
export {
  type PackView,
  type PolicyView,
  describePack,
  describePolicy,
  removeTopUpPolicy,
  resetTopUpBreaker,
  setTopUpPolicy,
} from "./policy.ts";
export { settlePack } from "./settle-pack.ts";
export type { TopUpProvider } from "./top-up-provider.ts";
export { topUpDueOrgs } from "./top-up.ts";

export {
  ensureGatesOfSpenders,
  ensureOrg,
  isGateOf,
  isKnownOrg,
  listOrgsNearZero,
  lockGate,
  type OrgGateRow,
  type OrgSettings,
  readGate,
} from "./db.ts";
export { lockPayersGate } from "./payer.ts";
export { findRefusal, moveDueOrgs, moveOrg } from "./gate.ts";
export { changeOrgSettings, resumeOrg, suspendOrg } from "./settings.ts";

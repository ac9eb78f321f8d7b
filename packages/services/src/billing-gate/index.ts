export {
  type OrgGateRow,
  type OrgSettings,
  ensureGatesOfSpenders,
  ensureOrg,
  isKnownOrg,
  listOrgsNearZero,
  lockGate,
  readGate,
} from "./db.ts";
export { findRefusal, moveDueOrgs, moveOrg } from "./gate.ts";
export { changeOrgSettings, resumeOrg, suspendOrg } from "./settings.ts";

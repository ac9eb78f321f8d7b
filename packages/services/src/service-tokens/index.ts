export { findToken, selectAudit, selectTokens } from "./db.ts";
export {
  type TokenOwner,
  authenticateServiceToken,
  createServiceToken,
  describeServiceToken,
  revokeServiceToken,
  rotateServiceToken,
} from "./service-tokens.ts";

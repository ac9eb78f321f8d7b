export {
  type TokenOwner,
  authenticateServiceToken,
  createServiceToken,
  describeServiceToken,
  listServiceTokens,
  readServiceToken,
  revokeServiceToken,
  rotateServiceToken,
} from "./service-tokens.ts";

export {
  authenticateServiceToken,
  createServiceToken,
  describeServiceToken,
  listServiceTokens,
  readServiceToken,
  revokeServiceToken,
  rotateServiceToken,
  type TokenOwner,
} from "./service-tokens.ts";

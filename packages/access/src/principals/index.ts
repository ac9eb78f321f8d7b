export {
  CALLER_KINDS,
  callerKind,
  type CallerKind,
  type CallerRoute,
  kindOfCredential,
  requireOpens,
  requireUserOf,
} from "./caller-kinds.ts";
export { deletePayer, findChain, joinPayer, listPayerRows, payerOf, readPayer, writePayer } from "./payers-db.ts";
export { opens, type OpenableRoute, requireRouteAllowed } from "./allowed-routes.ts";
export { aliasesOf, servedName } from "./model-aliases.ts";
export { type CallableModel, isLimitedToModels, isModelAllowed, requireModelAllowed } from "./policy.ts";
export { requestTags } from "./request-tags.ts";
export type { LimitOwner, Principal, PrincipalKind } from "./principal.ts";

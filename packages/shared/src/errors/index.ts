export { AppError, isAppError, type AppErrorOptions } from "./app-error.ts";
export { type Client, clientOf, type Refusal, refusalOf, REFUSALS, type RefusalKind, REFUSAL_KINDS, retryAfterOf } from "./refusals.ts";
export { ERROR_CODES, type ErrorCode } from "./codes.ts";

export { AppError, isAppError, ERROR_CODES, type ErrorCode } from "./errors/index.ts";

import { ERROR_CODES, type ErrorCode } from "./codes.ts";

/** What an {@link AppError} may carry besides code and message. */
export interface AppErrorOptions {
  /** Facts for the log: ids, counts, names. Never a key, a body or a prompt. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
  /** Seconds after which a retry makes sense; sent as `retry-after`. */
  readonly retryAfterSeconds?: number;
  /** The field of the request that is wrong; `param` in the OpenAI envelope. */
  readonly param?: string;
}

/**
 * The one error class. `code` is a row of {@link ERROR_CODES}; status and retryability come from that row, so no two
 * places can disagree. The message says what failed and which id; it is safe to show to the caller.
 */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  readonly retryAfterSeconds: number | undefined;
  readonly param: string | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.param = options.param;
  }

  get status(): number {
    return ERROR_CODES[this.code].status;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }

  get fix(): string {
    return ERROR_CODES[this.code].fix;
  }
}

/** True for an {@link AppError}, and for one with this code when a code is given. Works across duplicated packages. */
export function isAppError(error: unknown, code?: ErrorCode): error is AppError {
  if (!(error instanceof Error) || error.name !== "AppError") return false;
  return code === undefined || (error as AppError).code === code;
}

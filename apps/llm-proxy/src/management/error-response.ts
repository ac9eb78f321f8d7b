import { isDatabaseUnavailable } from "@proliferate/db";
import { AppError, ERROR_CODES, type ErrorCode, isAppError } from "@proliferate/shared/errors";
import type { z } from "zod";

/** What a management route answers: a status, a JSON body, and headers beside the usual ones. */
export interface ManagementAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that does not match its schema; answered as FastAPI answers it. */
export class ValidationError extends Error {
  override readonly name = "ValidationError";
  readonly place: "body" | "query";
  readonly issues: readonly z.core.$ZodIssue[];

  constructor(place: "body" | "query", issues: readonly z.core.$ZodIssue[]) {
    super(`The ${place} does not match its schema.`);
    this.place = place;
    this.issues = issues;
  }
}

/** LiteLLM's `error.type` where it differs from the table's. */
const LITELLM_TYPES: Partial<Record<ErrorCode, string>> = {
  missing_api_key: "auth_error",
  invalid_api_key: "auth_error",
  admin_key_required: "auth_error",
  team_not_found: "auth_error",
  store_unavailable: "no_db_connection",
};

/** What went wrong, as an {@link AppError}: an unreachable store is 503 and never looks like a wrong key. */
export function asAppError(error: unknown): AppError {
  if (isAppError(error)) return error;
  if (isDatabaseUnavailable(error))
    return new AppError("store_unavailable", "The database of the proxy cannot be reached.", { cause: error });
  return new AppError("internal_error", "The proxy failed to handle the request.", { cause: error });
}

/** The one place where the management API turns an error into LiteLLM's envelope: `code` is the status as a string. */
export function managementError(error: unknown): ManagementAnswer {
  if (error instanceof ValidationError) {
    const detail = error.issues.map((issue) => ({ type: issue.code, loc: [error.place, ...issue.path], msg: issue.message }));
    return { status: 422, body: { detail } };
  }
  const failure = asAppError(error);
  const { status, openaiType } = ERROR_CODES[failure.code];
  const type = LITELLM_TYPES[failure.code] ?? openaiType;
  return {
    status,
    body: { error: { message: failure.message, type, param: failure.param ?? "None", code: String(status) } },
    headers: {
      ...(status === 401 && { "www-authenticate": "Bearer" }),
      ...(failure.retryAfterSeconds !== undefined && { "retry-after": String(failure.retryAfterSeconds) }),
    },
  };
}

import type { ServerResponse } from "node:http";
import { isDatabaseUnavailable } from "@proliferate/db";
import { AppError, ERROR_CODES, isAppError } from "@proliferate/shared/errors";
import type { Dialect } from "./dialect.ts";

/** Any error as an {@link AppError}; what is not one is ours. An unreachable store is 503, never a refused key. */
export function asAppError(error: unknown): AppError {
  if (isAppError(error)) return error;
  if (isDatabaseUnavailable(error)) {
    return new AppError("store_unavailable", "The gateway's database cannot be reached.", { cause: error, retryAfterSeconds: 1 });
  }
  return new AppError("internal_error", "The gateway failed to handle the request.", { cause: error });
}

/** The error in the envelope of a dialect. */
export function errorBody(error: AppError, dialect: Dialect, requestId: string): unknown {
  const { anthropicType, openaiType, fix } = ERROR_CODES[error.code];
  const message = `${error.message} ${fix}`;
  if (dialect === "anthropic") return { type: "error", error: { type: anthropicType, message }, request_id: requestId };
  return { error: { message, type: openaiType, param: error.param ?? null, code: error.code } };
}

/** The same as an event of a stream that has begun; real clients raise on it. */
export function errorEvent(error: AppError, dialect: Dialect, requestId: string): string {
  const data = JSON.stringify(errorBody(error, dialect, requestId));
  return dialect === "anthropic" ? `event: error\ndata: ${data}\n\n` : `data: ${data}\n\n`;
}

/** Both spellings, on every answer: Anthropic's clients read one, OpenAI's the other. */
export function identityHeaders(requestId: string): Record<string, string> {
  return { "request-id": requestId, "x-request-id": requestId, "x-litellm-call-id": requestId };
}

/** The one place where the data plane turns an error into an answer. Nothing of the answer may have been sent. */
export function sendError(
  response: ServerResponse,
  dialect: Dialect,
  requestId: string,
  error: AppError,
  extra: Readonly<Record<string, string>> = {},
): void {
  if (response.destroyed) return;
  const bytes = Buffer.from(JSON.stringify(errorBody(error, dialect, requestId)));
  const status = error.status === 0 ? 500 : error.status;
  // For whoever counts; nothing hangs on it.
  response.emit("refused", error.code);
  response.writeHead(status, {
    ...identityHeaders(requestId),
    "content-type": "application/json",
    "content-length": bytes.length,
    // The OpenAI and Anthropic SDKs and Claude Code obey it, whatever the status is.
    ...(!error.retryable && { "x-should-retry": "false" }),
    ...(error.retryAfterSeconds !== undefined && { "retry-after": String(error.retryAfterSeconds) }),
    // What is left of its body is not waited for.
    ...(status === 408 && { connection: "close" }),
    ...(status === 401 && { "www-authenticate": error.code === "expired_api_key" ? 'Bearer error="invalid_token"' : "Bearer" }),
    ...extra,
  });
  response.end(bytes);
}

import type { ServerResponse } from "node:http";
import { isDatabaseUnavailable } from "@proliferate/db";
import { AppError, clientOf, isAppError, type Refusal, refusalOf, retryAfterOf } from "@proliferate/shared/errors";
import type { Dialect } from "../dialects/dialect.ts";
import { limitHeaders, limitOfError } from "./limit-headers.ts";

/** Any error as an {@link AppError}; what is not one is ours. An unreachable store is 503, never a refused key. */
export function asAppError(error: unknown): AppError {
  if (isAppError(error)) return error;
  if (isDatabaseUnavailable(error)) {
    return new AppError("store_unavailable", "The gateway's database cannot be reached.", { cause: error, retryAfterSeconds: 1 });
  }
  return new AppError("internal_error", "The gateway failed to handle the request.", { cause: error });
}

/** Both spellings, on every answer: Anthropic's clients read one, OpenAI's the other. */
export function identityHeaders(requestId: string): Record<string, string> {
  return { "request-id": requestId, "x-request-id": requestId, "x-litellm-call-id": requestId };
}

/** How the caller of this answer is told an error: by its program, too. */
function refusalFor(response: ServerResponse, error: AppError): Refusal {
  return refusalOf(error.code, clientOf(response.req.headers));
}

/**
 * An error as the last event of a stream that has begun. An event has no status: what is worth a retry says so by the words that OpenCode and Pi look for.
 */
export function errorEvent(response: ServerResponse, dialect: Dialect, requestId: string, error: AppError): string {
  const refusal = refusalFor(response, error);
  const told = refusal.retryable
    ? new AppError(error.code, `Service unavailable. ${error.message}`, { ...(error.param && { param: error.param }) })
    : error;
  return dialect.errorEvent(dialect.errorBody(told, refusal, requestId));
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
  const refusal = refusalFor(response, error);
  const { status } = refusal;
  const bytes = Buffer.from(JSON.stringify(dialect.errorBody(error, refusal, requestId)));
  const limit = limitOfError(error);
  const retryAfterSeconds = retryAfterOf(error.code, error.retryAfterSeconds);
  // For whoever counts; nothing hangs on it.
  response.emit("refused", error.code);
  response.writeHead(status, {
    ...identityHeaders(requestId),
    "content-type": "application/json",
    "content-length": bytes.length,
    // The OpenAI and Anthropic SDKs and Claude Code obey it, whatever the status is.
    ...(!refusal.retryable && { "x-should-retry": "false" }),
    ...(retryAfterSeconds !== undefined && { "retry-after": String(retryAfterSeconds) }),
    // What is left of its body is not waited for.
    ...(status === 408 && { connection: "close" }),
    ...(status === 401 && { "www-authenticate": error.code === "expired_api_key" ? 'Bearer error="invalid_token"' : "Bearer" }),
    ...(limit && limitHeaders(dialect, [limit], [])),
    ...extra,
  });
  response.end(bytes);
}

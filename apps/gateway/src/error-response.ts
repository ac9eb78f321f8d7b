import { isDatabaseUnavailable } from "@proliferate/db";
import { type Logger, redactSecrets } from "@proliferate/runtime";
import type { GatewayError } from "@proliferate/shared/contracts";
import { AppError, isAppError } from "@proliferate/shared/errors";
import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { GatewayVariables } from "./request-id.ts";

/** JSON bodies at most, in bytes. */
export const BODY_LIMIT_BYTES = 1_048_576;

/** An error's body in the words of one surface. What it gets holds no secret any more. */
export type ErrorEnvelope = (error: GatewayError["error"], status: number) => object;

const gatewayEnvelope: ErrorEnvelope = (error) => ({ error }) satisfies GatewayError;

/**
 * The only place where an error becomes HTTP. Every route, an unknown one too, answers in the envelope of its surface, by
 * default `{error: {code, message, fix, request_id}}`.
 */
export function errorResponse(
  error: unknown,
  context: Context<GatewayVariables>,
  logger: Logger,
  envelope: ErrorEnvelope = gatewayEnvelope,
): Response {
  const known = toCallerError(error);
  const requestId = context.get("requestId");
  if (known.status >= 500) {
    logger.error({ request_id: requestId, code: known.code, path: context.req.path, cause: describe(error) }, "request.failed");
  }
  const stated: GatewayError["error"] = {
    code: known.code,
    message: redactSecrets(known.message),
    fix: known.fix,
    request_id: requestId,
    ...(known.param === undefined ? {} : { param: known.param }),
  };
  if (known.retryAfterSeconds !== undefined) context.header("retry-after", String(known.retryAfterSeconds));
  if (known.status === 401) context.header("www-authenticate", "Bearer");
  if (known.status === 405) context.header("allow", String(known.details["allow"]));
  return context.json(envelope(stated, known.status), known.status as ContentfulStatusCode);
}

function toCallerError(error: unknown): AppError {
  if (isAppError(error)) {
    if (error.status !== 0) return error;
    // The caller did not talk to the proxy, we did: what went wrong there is a bad gateway, with the proxy's own reason.
    if (error.code.startsWith("proxy_")) return new AppError("llm_proxy_failed", error.message, { cause: error });
  }
  if (error instanceof HTTPException) return fromFramework(error);
  if (isDatabaseUnavailable(error))
    return new AppError("store_unavailable", "The gateway's database cannot be reached.", { cause: error, retryAfterSeconds: 1 });
  return new AppError("internal_error", "The gateway failed unexpectedly.", { cause: error });
}

function fromFramework(error: HTTPException): AppError {
  if (error.status === 413) return new AppError("request_too_large", `The body is larger than ${BODY_LIMIT_BYTES} bytes.`);
  if (error.status === 415) return new AppError("invalid_request", "The body must be sent with content-type: application/json.");
  return new AppError("invalid_json", "The body is not JSON.");
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.stack ?? error.message} (cause: ${error.cause.message})` : (error.stack ?? error.message);
}

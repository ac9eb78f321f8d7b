import { redactSecrets } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import type { Deployment } from "../config/model-table.ts";
import { isUpstreamTimeout, type UpstreamHead } from "./upstream.ts";

/** The failure of a provider's connection, as the caller is told it. `wasSent`: a connection had been made. */
export function providerError(failure: unknown, wasSent: boolean): AppError {
  if (failure instanceof AppError) return failure;
  if (isUpstreamTimeout(failure)) return new AppError("provider_timeout", "The provider did not answer in time.", { cause: failure });
  if (!wasSent) return new AppError("provider_unreachable", "The provider cannot be reached.", { cause: failure });
  return new AppError("provider_stream_broken", "The connection to the provider broke before the end of its answer.", { cause: failure });
}

/** The provider refuses the key that it was shown: ours, so the caller must not be told that its own is wrong. */
export function isKeyRejection(head: UpstreamHead): boolean {
  return head.status === 401 || head.status === 403;
}

export function keyRejected(deployment: Deployment): AppError {
  return new AppError(
    "provider_key_rejected",
    `The provider refused the gateway's own key (${deployment.apiKeyVariable ?? "litellm_params.api_key"}).`,
  );
}

/** Refusals that come before any work: the same request, a little later, may be served, and was not charged. */
const REPEATABLE_STATUS = new Set([429, 503, 529]);
/** A provider that asks for a longer pause is not asked again: the caller's own client waits better. */
const LONGEST_PAUSE_MS = 2_000;

/** How long to wait before the request is sent again after this refusal; undefined when it is the caller's to decide. */
export function pauseBeforeRepeat(head: UpstreamHead, leastMs: number): number | undefined {
  if (!REPEATABLE_STATUS.has(head.status) || head.headers["x-should-retry"] === "false") return undefined;
  const asked = head.headers["retry-after"];
  const askedMs = asked === undefined ? 0 : Number(asked) * 1_000;
  if (!Number.isFinite(askedMs) || askedMs > LONGEST_PAUSE_MS) return undefined;
  return Math.max(askedMs, leastMs);
}

/** Ids of our accounts at the providers, and what is left of a key in a provider's message. */
const ACCOUNT_PATTERN = /\b(?:(?:org|proj|user)[-_][A-Za-z0-9]{6,}|sk-[A-Za-z0-9_*-]{4,})/g;
const ORGANIZATION_UUID = /(organi[sz]ation[^\n"]{0,40}?)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;

/**
 * A provider's error text as a caller may read it: without our key, without the ids of our account, and with the request id
 * by which we know the request (the provider's own is in the header `llm_provider-request-id`).
 */
export function errorTextForCaller(
  text: string,
  { apiKey, requestId }: { readonly apiKey: string | undefined; readonly requestId: string },
): string {
  const withoutKey = apiKey ? text.replaceAll(apiKey, "[redacted]") : text;
  return redactSecrets(withoutKey)
    .replace(ACCOUNT_PATTERN, "[redacted]")
    .replace(ORGANIZATION_UUID, "$1[redacted]")
    .replace(/("request_id"\s*:\s*)"[^"\\]{0,128}"/g, (_, name: string) => `${name}${JSON.stringify(requestId)}`);
}

import type { IncomingHttpHeaders } from "node:http";
import { CREDENTIAL_HEADER_NAMES } from "../http/credential.ts";
import type { Provider } from "../providers/provider.ts";
import { PROVIDERS } from "../providers/registry.ts";

/** Of one connection only (RFC 9110 7.6.1). */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * What a caller sends about its connection to us, or about an account that is not ours, and what tells some servers another
 * method or path than the one that was judged.
 */
const NOT_FOR_PROVIDERS = new Set([
  "host",
  "content-length",
  "expect",
  "accept-encoding",
  "content-type",
  "content-encoding",
  "forwarded",
  "via",
  "x-real-ip",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-original-uri",
  "x-original-url",
  "x-rewrite-url",
  ...PROVIDERS.flatMap(({ accountHeaders }) => accountHeaders),
]);

/**
 * What a provider says of its answer, and nothing that it says of us: an allow list, because a header that nobody knows may
 * name our organization, our project, or tell the caller's program what to do (`location`, `refresh`, `www-authenticate`).
 */
const FOR_CALLERS = new Set([
  "content-type",
  "content-encoding",
  "content-language",
  "cache-control",
  "date",
  "retry-after",
  "retry-after-ms",
  "x-should-retry",
  "warning",
  "deprecation",
  "sunset",
  ...PROVIDERS.flatMap(({ answerHeaders }) => answerHeaders.names),
]);
const FOR_CALLERS_BEGIN = PROVIDERS.flatMap(({ answerHeaders }) => answerHeaders.beginnings);
const ACCOUNT_LIMITS_BEGIN = PROVIDERS.flatMap(({ answerHeaders }) => answerHeaders.limitBeginnings);

function namedByConnection(headers: IncomingHttpHeaders): ReadonlySet<string> {
  const connection = headers.connection;
  return new Set(
    connection
      ? connection
          .toLowerCase()
          .split(",")
          .map((name) => name.trim())
      : [],
  );
}

/** Of no dialect: who calls, and what it is traced by. */
const OF_EVERY_DIALECT = new Set(["user-agent", "traceparent", "tracestate", "baggage"]);

/** What a provider is told of a caller whose request is translated: headers of another API mean nothing, or something else, there. */
export function headersOfTranslated(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => OF_EVERY_DIALECT.has(name)));
}

/**
 * The headers that go to the provider: the caller's but for its credential, what belongs to its connection and our own
 * `x-litellm-*`; unknown ones pass, because `anthropic-beta` and its kind are open lists. The encoding is identity: usage
 * is read off the passing bytes. The body is told as what it was judged as, JSON in UTF-8: a server that reads it by another
 * charset of the caller's (`utf-7`) would find other fields in it.
 */
export function headersForProvider(headers: IncomingHttpHeaders, provider: Provider, apiKey: string): Record<string, string> {
  const listed = namedByConnection(headers);
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || NOT_FOR_PROVIDERS.has(name) || CREDENTIAL_HEADER_NAMES.has(name) || listed.has(name))
      continue;
    if (name.startsWith("x-litellm-") || name.startsWith("x-forwarded-")) continue;
    result[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  result["content-type"] = "application/json";
  result["accept-encoding"] = "identity";
  return { ...provider.defaultHeaders, ...result, ...provider.credentialHeaders(apiKey) };
}

/**
 * The headers that go back to the caller: those of {@link FOR_CALLERS}; the provider's request id under LiteLLM's name for it. What is left of
 * our account's limits is nothing to a caller that has limits here.
 */
export function headersForCaller(
  headers: IncomingHttpHeaders,
  { hasLimits = false }: { readonly hasLimits?: boolean } = {},
): Record<string, string | string[]> {
  const beginnings = hasLimits ? FOR_CALLERS_BEGIN : [...FOR_CALLERS_BEGIN, ...ACCOUNT_LIMITS_BEGIN];
  const listed = namedByConnection(headers);
  const result: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    const isAllowed = FOR_CALLERS.has(name) || beginnings.some((begin) => name.startsWith(begin));
    if (value !== undefined && isAllowed && !listed.has(name)) result[name] = value;
  }
  const providerRequestId = providerRequestIdOf(headers);
  if (providerRequestId !== undefined) result["llm_provider-request-id"] = providerRequestId;
  return result;
}

function providerRequestIdOf(headers: IncomingHttpHeaders): string | undefined {
  const id = headers["request-id"] ?? headers["x-request-id"];
  return typeof id === "string" ? id : undefined;
}

import type { DeliveryOutcome } from "../port/sink.ts";

/** Errors of a connection that was never made: nothing can have been applied. */
const NOT_CONNECTED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "CERT_HAS_EXPIRED",
]);

interface HttpFailure {
  readonly statusCode: number;
  readonly body: string;
  readonly headers: Headers;
}

/**
 * What an error of either client says about the deduction. Told by its form, not by its class: autumn-js and its classes are
 * loaded late, if at all. A request that may have reached Autumn without a clear refusal is `unknown`, never `unavailable`.
 */
export function classifyAutumnError(error: unknown): DeliveryOutcome {
  if (!(error instanceof Error)) return { kind: "unknown", code: "unknown_error", message: "The call failed without an error." };
  if (isHttpFailure(error)) return classifyAnswer(error);
  const cause = rootCauseCode(error);
  if (cause !== undefined && NOT_CONNECTED.has(cause)) {
    return { kind: "unavailable", code: cause.toLowerCase(), message: "Autumn cannot be reached; check AUTUMN_API_URL and the network." };
  }
  if (error.name === "RequestTimeoutError" || error.name === "TimeoutError")
    return { kind: "unknown", code: "timeout", message: "Autumn did not answer in time." };
  if (error.name === "SDKValidationError")
    return { kind: "dead", code: "invalid_inputs", message: "autumn-js refused the deduction before sending it." };
  if (cause === "answer_too_large") return { kind: "unknown", code: cause, message: "Autumn's answer is too long to be one." };
  return { kind: "unknown", code: cause?.toLowerCase() ?? "connection_lost", message: "The connection to Autumn broke before its answer." };
}

/** Whether this Autumn keeps no list of events, which needs an analytics store: it refuses to list them, or says that the store is not set up. */
export function meansNoEventList(error: unknown): boolean {
  if (!(error instanceof Error) || !isHttpFailure(error)) return false;
  return NO_LIST.has(error.statusCode) || (error.statusCode === 500 && /tinybird is not configured/i.test(error.body));
}

/** Not 400: what it refuses there is our question (a cursor, an id), not the list. */
const NO_LIST: ReadonlySet<number> = new Set([403, 404, 501]);

function isHttpFailure(error: Error): error is Error & HttpFailure {
  return typeof (error as Partial<HttpFailure>).statusCode === "number" && typeof (error as Partial<HttpFailure>).body === "string";
}

function rootCauseCode(error: Error): string | undefined {
  let code: string | undefined;
  for (let link: unknown = error, depth = 0; link instanceof Error && depth < 8; link = link.cause, depth += 1) {
    const own = (link as { code?: unknown }).code;
    if (typeof own === "string") code = own;
    // Node tried each address of the host (IPv6 and IPv4). This error holds one error for each, and all of them failed.
    if (link instanceof AggregateError && code === undefined) code = (link.errors[0] as { code?: string } | undefined)?.code;
  }
  return code;
}

/** Autumn's own code, `{ message, code }`; never the rest of the body. */
function codeOf(failure: HttpFailure): string {
  try {
    const code = (JSON.parse(failure.body) as { code?: unknown } | null)?.code;
    if (typeof code === "string" && /^[a-z0-9_]{1,60}$/.test(code)) return code;
  } catch {
    // Not Autumn's envelope: something between us answered.
  }
  return `http_${failure.statusCode}`;
}

function retryAfterOf(failure: HttpFailure): { retryAfterMs?: number } {
  const value = failure.headers.get("retry-after");
  if (value === null) return {};
  const seconds = /^\d+(\.\d+)?$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1_000;
  return Number.isFinite(seconds) ? { retryAfterMs: Math.min(Math.max(seconds, 0), 3_600) * 1_000 } : {};
}

const PARKED_MESSAGES: Readonly<Record<string, string>> = {
  customer_not_found: "Autumn does not know this customer; create it (its id is the org id) with a plan that grants the feature.",
  feature_not_found: "Autumn does not know the feature; set AUTUMN_FEATURE_ID to one of its features.",
  invalid_api_version: "Autumn does not serve this API version; set AUTUMN_API_VERSION to one that it does.",
  no_secret_key: "Autumn wants a secret key; set AUTUMN_API_KEY.",
  invalid_secret_key: "Autumn refused the secret key; set AUTUMN_API_KEY to a live one of this environment.",
  usage_limit_exceeded: "A usage limit of the customer forbids the deduction; raise it in Autumn.",
  insufficient_balance: "Autumn refuses to go below zero here; allow overage in the customer's plan.",
};

function classifyAnswer(failure: HttpFailure): DeliveryOutcome {
  const status = failure.statusCode;
  const code = codeOf(failure);
  if (status >= 300 && status < 400)
    return {
      kind: "parked",
      status,
      code: "redirected",
      message: "AUTUMN_API_URL leads to a redirect, which is not followed with a secret key; set it to where the redirect leads.",
    };
  // The status is 2xx, and the body is not one that we know. Autumn accepted the call in some form.
  if (status < 400)
    return { kind: "unknown", status, code: "unreadable_answer", message: "Autumn answered in a form that cannot be read." };
  if (status === 409) {
    if (code === "duplicate_idempotency_key") return { kind: "duplicate", status, code, message: "Autumn saw this key before." };
    return { kind: "unavailable", status, code, message: "Autumn reports a conflict." };
  }
  if (status === 429) return { kind: "unavailable", status, code, message: "Autumn limits the rate of calls.", ...retryAfterOf(failure) };
  if (status >= 500 || status === 408)
    return { kind: "unknown", status, code, message: "Autumn failed while it worked on the deduction.", ...retryAfterOf(failure) };
  if (code === "invalid_inputs")
    return { kind: "dead", status, code, message: "Autumn refuses the deduction as malformed; report it, then redrive the batch." };
  return {
    kind: "parked",
    status,
    code,
    message: PARKED_MESSAGES[code] ?? `Autumn refused the deduction (${code}); check AUTUMN_API_URL, AUTUMN_API_KEY and the customer.`,
  };
}

import type { ProviderError } from "../answer.ts";
import { filledText, type JsonObject, objectOf } from "../json.ts";

/** Errors of Google's APIs. */

const STATUSES: Readonly<Record<number, string>> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  402: "FAILED_PRECONDITION",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  409: "ABORTED",
  413: "INVALID_ARGUMENT",
  429: "RESOURCE_EXHAUSTED",
  499: "CANCELLED",
  501: "UNIMPLEMENTED",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};

/** What other dialects go by within a stream, where there is no status. */
const TYPES: Readonly<Record<string, string>> = {
  INVALID_ARGUMENT: "invalid_request_error",
  FAILED_PRECONDITION: "invalid_request_error",
  RESOURCE_EXHAUSTED: "rate_limit_error",
  UNAVAILABLE: "overloaded_error",
};

/** What every dialect calls a prompt that does not fit; clients make room for it when they read this. */
const TOO_LONG = "context_length_exceeded";
/** Google's sentences for it: "The input token count (…) exceeds the maximum number of tokens allowed (…)." */
const TOO_LONG_TEXT = /token count.{0,64}exceeds the maximum/is;

/** `{error: {code, message, status}}`; undefined where it is none. */
export function readErrorBody(body: JsonObject): Omit<ProviderError, "status"> | undefined {
  const error = objectOf(body["error"]);
  if (!error) return undefined;
  const message = filledText(error["message"]) ?? "The provider gave no reason.";
  const status = filledText(error["status"]);
  return {
    type: status === undefined ? undefined : (TYPES[status] ?? status.toLowerCase()),
    code: TOO_LONG_TEXT.test(message.slice(0, 1_024)) ? TOO_LONG : undefined,
    message,
    param: undefined,
  };
}

/** The same as Google would say it. 529 is Anthropic's alone. */
export function writeErrorBody({ status, type, code, message }: ProviderError): { status: number; body: JsonObject } {
  const own = status === 529 ? 503 : (status ?? streamedStatus(`${type ?? ""} ${code ?? ""}`));
  const text =
    code === TOO_LONG && !TOO_LONG_TEXT.test(message)
      ? `The input token count exceeds the maximum number of tokens allowed: ${message}`
      : message;
  const name = STATUSES[own] ?? (own < 500 ? "INVALID_ARGUMENT" : "INTERNAL");
  return { status: own, body: { error: { code: own, message: text, status: name } } };
}

function streamedStatus(words: string): number {
  if (/overloaded|unavailable/.test(words)) return 503;
  if (/rate_limit|quota/.test(words)) return 429;
  return /invalid_request|context_length/.test(words) ? 400 : 500;
}

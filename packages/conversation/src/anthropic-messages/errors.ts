import type { ProviderError } from "../answer.ts";
import { filledText, type JsonObject, objectOf } from "../json.ts";

/** Errors of Anthropic Messages. */

const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
  529: "overloaded_error",
};

/** What every dialect calls a prompt that does not fit; clients make room for it when they read this. */
const TOO_LONG = "context_length_exceeded";
/** How Anthropic begins the sentence that Claude Code knows it by. */
const TOO_LONG_TEXT = "prompt is too long";

/** `{type: "error", error: {type, message}}`; undefined where it is none. */
export function readErrorBody(body: JsonObject): Omit<ProviderError, "status"> | undefined {
  const error = objectOf(body["error"]);
  if (!error) return undefined;
  const message = filledText(error["message"]) ?? "The provider gave no reason.";
  const isTooLong = message.toLowerCase().includes(TOO_LONG_TEXT);
  return { type: filledText(error["type"]), code: isTooLong ? TOO_LONG : undefined, message, param: undefined };
}

/** The same as Anthropic would say it. */
export function writeErrorBody({ status, type, code, message }: ProviderError, requestId: string): { status: number; body: JsonObject } {
  const text = code === TOO_LONG && !message.toLowerCase().includes(TOO_LONG_TEXT) ? `${TOO_LONG_TEXT}: ${message}` : message;
  const error = { type: status === undefined ? streamedType(type, code) : typeOf(status), message: text };
  return { status: status ?? 500, body: { type: "error", error, request_id: requestId } };
}

function typeOf(status: number): string {
  return TYPES[status] ?? (status < 500 ? "invalid_request_error" : "api_error");
}

/** In a stream there is no status: other dialects say it by type or code. */
function streamedType(type: string | undefined, code: string | undefined): string {
  const words = `${type ?? ""} ${code ?? ""}`;
  if (/overloaded|unavailable/.test(words)) return "overloaded_error";
  if (/rate_limit|quota/.test(words)) return "rate_limit_error";
  return /invalid_request/.test(words) || code === TOO_LONG ? "invalid_request_error" : "api_error";
}

import type { ProviderError } from "../answer.ts";
import { filledText, type JsonObject, objectOf } from "../json.ts";

/** Errors of OpenAI's dialects. */

const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "insufficient_quota",
  403: "permission_error",
  404: "not_found_error",
  413: "invalid_request_error",
  429: "rate_limit_exceeded",
};

/** `{error: {message, type, code, param}}`; undefined where it is none. */
export function readErrorBody(body: JsonObject): Omit<ProviderError, "status"> | undefined {
  const { error } = body;
  if (typeof error === "string" && error !== "") return { type: undefined, code: undefined, message: error, param: undefined };
  const said = objectOf(error);
  if (!said) return undefined;
  return {
    type: filledText(said["type"]),
    code: filledText(said["code"]),
    message: filledText(said["message"]) ?? "The provider gave no reason.",
    param: filledText(said["param"]),
  };
}

/** The same as OpenAI would say it. 529 is Anthropic's alone. */
export function writeErrorBody({ status, type, code, message, param }: ProviderError): { status: number; body: JsonObject } {
  const own = status === undefined ? streamedType(type) : (TYPES[status] ?? (status < 500 ? "invalid_request_error" : "server_error"));
  const isOverloaded = status === 529 || type === "overloaded_error";
  const error = { message, type: own, param: param ?? null, code: code ?? (isOverloaded ? "server_is_overloaded" : null) };
  return { status: status === 529 ? 503 : (status ?? 500), body: { error } };
}

function streamedType(type: string | undefined): string {
  if (type === "rate_limit_error") return "rate_limit_exceeded";
  return type === "invalid_request_error" ? type : "server_error";
}

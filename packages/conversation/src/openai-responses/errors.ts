import type { ProviderError } from "../answer.ts";
import { filledText, type JsonObject, objectOf } from "../json.ts";
import { readErrorBody } from "../openai-chat/errors.ts";

/** An error of a body, of an `error` event, or of an answer that failed; undefined where there is none. */
export function readResponsesError(body: JsonObject): Omit<ProviderError, "status"> | undefined {
  const own = readErrorBody(body);
  if (own) return own;
  const failed = objectOf(body["response"]);
  if (body["type"] === "response.failed") return (failed && readErrorBody(failed)) ?? { ...NO_REASON };
  if (body["type"] !== "error") return undefined;
  const code = filledText(body["code"]);
  return { type: code, code, message: filledText(body["message"]) ?? NO_REASON.message, param: filledText(body["param"]) };
}

const NO_REASON = { type: undefined, code: undefined, message: "The provider gave no reason.", param: undefined };

import { openaiResponsesCodec } from "@proliferate/conversation";
import { readResponsesAnswer, ResponsesUsageReader } from "@proliferate/metering/usage";
import { compilePlace } from "../body/place.ts";
import { RESPONSES_FIELDS } from "../body/responses-fields.ts";
import type { Dialect } from "./dialect.ts";
import { OPENAI_MODELS, OPENAI_PING, openaiErrorBody, openaiLimitHeaders } from "./openai-envelope.ts";

/**
 * OpenAI Responses. A stream ends with `response.completed`, `response.incomplete` or `response.failed`; clients do not notice one
 * that breaks off before it, which is unfinished and gets an error event as its end.
 */
export const openaiResponses: Dialect = {
  name: "openai-responses",
  family: "openai",
  callType: "aresponses",
  routes: { "/responses": { kind: "answer", upstreamPath: "/v1/responses" } },
  notServed: { "/responses": "Answers are not kept for callers: they are in the answer to POST /v1/responses, and nowhere else." },
  isSpokenBy: () => false,
  body: compilePlace(RESPONSES_FIELDS),
  // Every stream says what it cost.
  askForUsage: () => undefined,
  countsSearches: true,
  streamReader: () => new ResponsesUsageReader(),
  listRead: "output",
  readAnswer: readResponsesAnswer,
  codec: openaiResponsesCodec,
  models: OPENAI_MODELS,
  limitHeaders: openaiLimitHeaders,
  errorBody: openaiErrorBody,
  ping: OPENAI_PING,
  errorEvent,
};

/**
 * An `error` event that every client raises on: some read the fields of the event itself, others the error in it, as in a chat.
 * Its number is no part of the provider's sequence.
 */
function errorEvent(body: unknown): string {
  const { error } = body as { readonly error: { readonly code: unknown; readonly message: unknown; readonly param: unknown } };
  const { code, message, param } = error;
  return `event: error\ndata: ${JSON.stringify({ type: "error", sequence_number: 0, code, message, param, error })}\n\n`;
}

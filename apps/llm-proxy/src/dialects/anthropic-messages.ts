import { AnthropicUsageReader, readAnthropicAnswer } from "@proliferate/metering/usage/anthropic-usage";
import { type AppError, ERROR_CODES } from "@proliferate/shared/errors";
import { compilePlace } from "../body/place.ts";
import { ANTHROPIC_FIELDS } from "../body/spending-fields.ts";
import type { Dialect } from "./dialect.ts";

/** Anthropic Messages. A stream ends with `message_stop`; one that breaks off before it is unfinished. */
export const anthropicMessages: Dialect = {
  name: "anthropic-messages",
  family: "anthropic",
  callType: "anthropic_messages",
  routes: {
    "/messages": { kind: "answer", upstreamPath: "/v1/messages" },
    "/messages/count_tokens": { kind: "count_tokens", upstreamPath: "/v1/messages/count_tokens" },
  },
  isSpokenBy: (headers) => headers["anthropic-version"] !== undefined,
  body: compilePlace(ANTHROPIC_FIELDS),
  // Every stream says what it cost.
  askForUsage: () => undefined,
  countsSearches: true,
  streamReader: () => new AnthropicUsageReader(),
  readAnswer: readAnthropicAnswer,
  errorBody,
  errorEvent: (error, requestId) => `event: error\ndata: ${JSON.stringify(errorBody(error, requestId))}\n\n`,
};

function errorBody(error: AppError, requestId: string): unknown {
  const { anthropicType, fix } = ERROR_CODES[error.code];
  return { type: "error", error: { type: anthropicType, message: `${error.message} ${fix}` }, request_id: requestId };
}

import { anthropicMessagesCodec } from "@proliferate/conversation";
import { AnthropicUsageReader, readAnthropicAnswer } from "@proliferate/metering/usage";
import type { AppError, Refusal } from "@proliferate/shared/errors";
import { compilePlace } from "../body/place.ts";
import { ANTHROPIC_FIELDS } from "../body/spending-fields.ts";
import type { Dialect } from "./dialect.ts";
import { type ModelListing, modelRemarks } from "./model-listing.ts";

/** Claude Code shows each model of the list; a page is as long as Anthropic's own. */
const MODELS: ModelListing = {
  isOwnOnly: true,
  pageSize: 20,
  view: (model) => ({
    type: "model",
    id: model.id,
    display_name: model.id,
    created_at: model.createdAt.toISOString(),
    ...modelRemarks(model),
  }),
  list: (page) => page,
};

/** Anthropic Messages. A stream ends with `message_stop`; one that breaks off before it is unfinished. */
export const anthropicMessages: Dialect = {
  name: "anthropic-messages",
  family: "anthropic",
  callType: "anthropic_messages",
  routes: {
    "/messages": { kind: "answer", upstreamPath: "/v1/messages" },
    "/messages/count_tokens": { kind: "count_tokens", upstreamPath: "/v1/messages/count_tokens" },
  },
  notServed: {
    "/messages/batches": "Batches are not served: their answers would be kept at the provider, where nobody knows whose they are.",
    "/files":
      "Files are not served: they would be kept at the provider, where nobody knows whose they are; send their bytes in the message.",
    "/skills": "Skills are not served: they are kept at the provider, where nobody knows whose they are.",
    "/complete": "Text completions are not served; call POST /v1/messages.",
  },
  isSpokenBy: (headers) => headers["anthropic-version"] !== undefined,
  body: compilePlace(ANTHROPIC_FIELDS),
  // Every stream says what it cost.
  askForUsage: () => undefined,
  countsSearches: true,
  streamReader: () => new AnthropicUsageReader(),
  readAnswer: readAnthropicAnswer,
  codec: anthropicMessagesCodec,
  models: MODELS,
  limitHeaders: (meter, { amount, left, reset }) => ({
    [`anthropic-ratelimit-${meter}-limit`]: amount,
    [`anthropic-ratelimit-${meter}-remaining`]: left,
    ...(reset && { [`anthropic-ratelimit-${meter}-reset`]: reset.at.toISOString() }),
  }),
  errorBody,
  // Anthropic's own, which its API sends in any place of a stream.
  ping: 'event: ping\ndata: {"type": "ping"}\n\n',
  errorEvent: (body) => `event: error\ndata: ${JSON.stringify(body)}\n\n`,
};

function errorBody(error: AppError, { anthropicType }: Refusal, requestId: string): unknown {
  return { type: "error", error: { type: anthropicType, message: `${error.message} ${error.fix}` }, request_id: requestId };
}

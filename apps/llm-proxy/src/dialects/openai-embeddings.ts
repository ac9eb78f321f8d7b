import { OpenAIUsageReader, readEmbeddingsAnswer } from "@proliferate/metering/usage";
import { EMBEDDINGS_FIELDS } from "../body/embeddings-fields.ts";
import { compilePlace } from "../body/place.ts";
import type { Dialect } from "./dialect.ts";
import { OPENAI_MODELS, OPENAI_PING, openaiErrorBody, openaiLimitHeaders } from "./openai-envelope.ts";

/** OpenAI embeddings: input alone is paid for, and nothing is streamed. A provider that streams all the same is read as a chat without an end. */
export const openaiEmbeddings: Dialect = {
  name: "openai-embeddings",
  family: "openai",
  callType: "aembedding",
  routes: { "/embeddings": { kind: "answer", upstreamPath: "/v1/embeddings" } },
  notServed: {},
  isSpokenBy: () => false,
  body: compilePlace(EMBEDDINGS_FIELDS),
  askForUsage: () => undefined,
  countsSearches: true,
  streamReader: () => new OpenAIUsageReader(),
  readAnswer: readEmbeddingsAnswer,
  codec: undefined,
  models: OPENAI_MODELS,
  limitHeaders: openaiLimitHeaders,
  errorBody: openaiErrorBody,
  ping: OPENAI_PING,
  errorEvent: (body) => `data: ${JSON.stringify(body)}\n\n`,
};

import { geminiCodec } from "@proliferate/conversation";
import { GeminiUsageReader, readGeminiAnswer } from "@proliferate/metering/usage";
import { AppError } from "@proliferate/shared/errors";
import { GEMINI_FIELDS } from "../body/gemini-fields.ts";
import { compilePlace } from "../body/place.ts";
import type { Dialect, DialectRoute } from "./dialect.ts";
import { GOOGLE_MODELS, googleErrorBody } from "./google-envelope.ts";

const KEPT = "would be kept at the provider, where nobody knows whose they are";
const NOT_PRICED = "are not priced here";
const MODEL = "/v1beta/models/{model}";

/** The rest of Google's API: methods of a model, and what else lies beside the models. */
const NOT_SERVED = {
  [`${MODEL}:batchGenerateContent`]: `Batches are not served: their answers ${KEPT}.`,
  [`${MODEL}:asyncBatchEmbedContent`]: `Batches are not served: their answers ${KEPT}.`,
  [`${MODEL}:embedContent`]: "Embeddings are not served in Gemini's API; call POST /v1/embeddings.",
  [`${MODEL}:batchEmbedContents`]: "Embeddings are not served in Gemini's API; call POST /v1/embeddings.",
  [`${MODEL}:predict`]: `Images are not served: they ${NOT_PRICED}.`,
  [`${MODEL}:predictLongRunning`]: `Videos are not served: they ${NOT_PRICED}.`,
  [`${MODEL}:generateAnswer`]: `Answers of the semantic retriever are not served: they ${NOT_PRICED}.`,
  [`${MODEL}:bidiGenerateContent`]: `Live sessions are not served: they ${NOT_PRICED}.`,
  "/v1beta/files": `Files are not served: they ${KEPT}; send their bytes in the request, as inlineData.`,
  "/upload": `Uploads are not served: they ${KEPT}; send their bytes in the request, as inlineData.`,
  "/v1beta/cachedContents": `Cached contents are not served: they ${KEPT}. What is repeated is cached by the provider itself.`,
  "/v1beta/batches": `Batches are not served: their answers ${KEPT}.`,
  "/v1beta/interactions": `Interactions are not served: they ${KEPT}; call ${MODEL}:generateContent.`,
  "/v1beta/fileSearchStores": `File search stores are not served: they ${KEPT}.`,
  "/v1beta/corpora": `Corpora are not served: they ${KEPT}.`,
  "/v1beta/tunedModels": `Tuned models are not served: they ${KEPT}.`,
  "/v1beta/operations": `Operations are not served: they ${KEPT}.`,
  "/v1beta/auth_tokens": "Tokens for live sessions are not made here.",
  "/ws": `Live sessions are not served: they ${NOT_PRICED}.`,
};

/**
 * Google's Gemini. The model and whether the answer is a stream stand in the path. A stream has no event that ends it: its last chunk has the
 * `finishReason` of each candidate, and behind it the body ends; one that ends without is unfinished.
 */
export const gemini: Dialect = {
  name: "gemini",
  family: "google",
  callType: "agenerate_content",
  version: "v1beta",
  routes: {
    [`${MODEL}:generateContent`]: { kind: "answer", upstreamPath: `${MODEL}:generateContent`, isStream: false },
    [`${MODEL}:streamGenerateContent`]: {
      kind: "answer",
      upstreamPath: `${MODEL}:streamGenerateContent`,
      upstreamQuery: "?alt=sse",
      isStream: true,
    },
    [`${MODEL}:countTokens`]: { kind: "count_tokens", upstreamPath: `${MODEL}:countTokens`, isStream: false },
  },
  notServed: NOT_SERVED,
  requireQuery,
  isSpokenBy: (headers) => headers["x-goog-api-key"] !== undefined || headers["x-goog-api-client"] !== undefined,
  body: compilePlace(GEMINI_FIELDS),
  // Every chunk says what it cost so far.
  askForUsage: () => undefined,
  countsSearches: true,
  streamReader: ({ choices }) => new GeminiUsageReader(choices === undefined ? {} : { choices }),
  listRead: "candidates",
  readAnswer: readGeminiAnswer,
  codec: geminiCodec,
  models: GOOGLE_MODELS,
  // Its clients read no such headers; what is left stands in `x-gateway-limits`.
  limitHeaders: () => ({}),
  errorBody: googleErrorBody,
  // An empty line. A comment stops Google's own older library, which Gemini CLI is made of: it finds no frame behind one.
  ping: "\n",
  errorEvent,
};

/** What Google's front end reads out of a query, whatever the method is: `$alt`, `key` …, and what leaves usage out of the answer. */
const OF_THE_FRONT_END = /^(?:\$.*|key|access_token|oauth_token|bearer_token|fields|callback|uploadtype|upload_protocol)$/i;

function requireQuery(query: string, route: Pick<DialectRoute, "isStream"> | undefined): void {
  const names = new URLSearchParams(query);
  for (const name of names.keys()) {
    const param = name.slice(0, 64);
    if (/^\$?(?:key|access_token|oauth_token|bearer_token)$/i.test(name))
      throw refused(param, `A credential in the query stands in logs: send the key as x-goog-api-key, and no ${param} in the query.`);
    if (OF_THE_FRONT_END.test(name)) throw refused(param, `${param} in the query is not served: it would change what the answer says.`);
  }
  const forms = names.getAll("alt");
  if (route?.isStream && (forms.length !== 1 || forms[0] !== "sse"))
    throw refused("alt", "A stream is served as events only: add ?alt=sse to the path; without it the answer would be one JSON list.");
  if (!route?.isStream && forms.some((form) => form !== "json")) throw refused("alt", "alt in the query can be json here, or nothing.");
}

function refused(param: string, message: string): AppError {
  return new AppError("invalid_request", message, { param });
}

/**
 * The error twice. Google's libraries of today raise on an event that has one; older ones take it for a chunk without candidates, and raise on what
 * stands at the end of a stream and is no event.
 */
function errorEvent(body: unknown): string {
  const text = JSON.stringify(body);
  return `data: ${text}\n\n${text}\n`;
}

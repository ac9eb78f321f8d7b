import { openaiChatCodec } from "@proliferate/conversation";
import { OpenAIUsageReader, readOpenAIAnswer } from "@proliferate/metering/usage";
import type { Edit } from "../body/edits.ts";
import { compilePlace } from "../body/place.ts";
import type { RequestBody } from "../body/request-body.ts";
import { Kind } from "../body/seen-object.ts";
import { OPENAI_FIELDS } from "../body/spending-fields.ts";
import type { Dialect } from "./dialect.ts";
import { OPENAI_MODELS, OPENAI_PING, openaiErrorBody, openaiLimitHeaders } from "./openai-envelope.ts";

const KEPT = "would be kept at the provider, where nobody knows whose they are";
const NOT_PRICED = "are not priced here";
/** The rest of OpenAI's API, by its first path. */
const NOT_SERVED = {
  "/chat/completions": `Stored completions are not served: they ${KEPT}.`,
  "/completions": "Text completions are not served; call POST /v1/chat/completions.",
  "/batches": `Batches are not served: their answers ${KEPT}.`,
  "/files": `Files are not served: they ${KEPT}; send their bytes in the request.`,
  "/uploads": `Uploads are not served: they ${KEPT}; send their bytes in the request.`,
  "/vector_stores": `Vector stores are not served: they ${KEPT}.`,
  "/containers": `Containers are not served: they ${KEPT}.`,
  "/conversations": `Conversations are not served: they ${KEPT}; send the whole conversation each time.`,
  "/assistants": `Assistants are not served: they ${KEPT}.`,
  "/threads": `Threads are not served: they ${KEPT}.`,
  "/evals": `Evals are not served: they ${KEPT}.`,
  "/fine_tuning": `Fine-tuning is not served: its models ${KEPT}.`,
  "/skills": `Skills are not served: they ${KEPT}.`,
  "/images": `Images are not served: they ${NOT_PRICED}.`,
  "/audio": `Speech and transcripts are not served: they ${NOT_PRICED}.`,
  "/videos": `Videos are not served: they ${NOT_PRICED}.`,
  "/realtime": `Realtime sessions are not served: they ${NOT_PRICED}.`,
  "/moderations": `Moderations are not served: they ${NOT_PRICED}.`,
} as const;

/**
 * OpenAI chat completions, of OpenAI and of all who are compatible with it. A stream ends with `[DONE]`; one without it is
 * whole where every choice has finished and the usage has come, because some compatible servers leave it out.
 */
export const openaiChat: Dialect = {
  name: "openai-chat",
  family: "openai",
  callType: "acompletion",
  routes: { "/chat/completions": { kind: "answer", upstreamPath: "/v1/chat/completions" } },
  notServed: NOT_SERVED,
  isSpokenBy: () => false,
  body: compilePlace(OPENAI_FIELDS),
  askForUsage,
  countsSearches: false,
  streamReader: (options) => new OpenAIUsageReader(options),
  readAnswer: readOpenAIAnswer,
  codec: openaiChatCodec,
  models: OPENAI_MODELS,
  limitHeaders: openaiLimitHeaders,
  errorBody: openaiErrorBody,
  ping: OPENAI_PING,
  errorEvent: (body) => `data: ${JSON.stringify(body)}\n\n`,
};

/** `stream_options.include_usage`, where the caller streams and does not ask for it. */
function askForUsage({ bytes, facts, positions }: RequestBody): Edit | undefined {
  const { streamOptions, includeUsage, closingBrace } = positions;
  if (!facts.stream || includeUsage?.kind === Kind.true) return undefined;
  if (!streamOptions) return insertField(bytes, closingBrace, '"stream_options":{"include_usage":true}');
  if (streamOptions.kind !== Kind.object) return { ...streamOptions, text: '{"include_usage":true}' };
  if (!includeUsage) return insertField(bytes, streamOptions.end - 1, '"include_usage":true');
  const quote = includeUsage.kind === Kind.string ? 1 : 0;
  return { start: includeUsage.start - quote, end: includeUsage.end + quote, text: "true" };
}

/** Before the brace that closes an object. */
function insertField(bytes: Buffer, closingBrace: number, field: string): Edit {
  let last = closingBrace - 1;
  while (bytes[last] === 0x20 || bytes[last] === 0x0a || bytes[last] === 0x0d || bytes[last] === 0x09) last -= 1;
  return { start: closingBrace, end: closingBrace, text: bytes[last] === 0x7b ? field : `,${field}` };
}

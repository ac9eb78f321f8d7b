import type { Codec } from "../codec.ts";
import { readErrorBody, writeErrorBody } from "./errors.ts";
import { PLACES, REFUSED_TYPES } from "./fields.ts";
import { OPENAI_CHAT } from "./name.ts";
import { ChatStreamReader, readAnswer } from "./read-answer.ts";
import { readRequest } from "./read-request.ts";
import { ChatStreamWriter, writeAnswer } from "./write-answer.ts";
import { SAYINGS, writeRequest } from "./write-request.ts";

/** OpenAI chat completions, and those of every compatible server. */
export const openaiChatCodec: Codec = {
  name: OPENAI_CHAT,
  places: PLACES,
  refusedTypes: REFUSED_TYPES,
  sayings: SAYINGS,
  readRequest,
  writeRequest,
  readAnswer,
  writeAnswer,
  streamReader: () => new ChatStreamReader(),
  streamWriter: (context) => new ChatStreamWriter(context),
  readError: readErrorBody,
  writeError: writeErrorBody,
};

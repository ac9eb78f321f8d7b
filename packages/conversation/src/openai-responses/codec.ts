import type { Codec } from "../codec.ts";
import { writeErrorBody } from "../openai-chat/errors.ts";
import { readResponsesError } from "./errors.ts";
import { PLACES, REFUSED_TYPES } from "./fields.ts";
import { OPENAI_RESPONSES } from "./name.ts";
import { readAnswer, ResponsesStreamReader } from "./read-answer.ts";
import { readRequest } from "./read-request.ts";
import { ResponsesStreamWriter, writeAnswer } from "./write-answer.ts";
import { SAYINGS, writeRequest } from "./write-request.ts";

/** OpenAI Responses. */
export const openaiResponsesCodec: Codec = {
  name: OPENAI_RESPONSES,
  places: PLACES,
  refusedTypes: REFUSED_TYPES,
  sayings: SAYINGS,
  readRequest,
  writeRequest,
  readAnswer,
  writeAnswer,
  streamReader: () => new ResponsesStreamReader(),
  streamWriter: (context) => new ResponsesStreamWriter(context),
  readError: readResponsesError,
  writeError: writeErrorBody,
};

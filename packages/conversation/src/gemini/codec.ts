import type { Codec } from "../codec.ts";
import { readErrorBody, writeErrorBody } from "./errors.ts";
import { PLACES, REFUSED_TYPES } from "./fields.ts";
import { GEMINI } from "./name.ts";
import { GeminiStreamReader, readAnswer } from "./read-answer.ts";
import { readRequest } from "./read-request.ts";
import { GeminiStreamWriter, writeAnswer } from "./write-answer.ts";
import { SAYINGS, writeRequest } from "./write-request.ts";

/** Google Gemini: `generateContent` and `streamGenerateContent`. */
export const geminiCodec: Codec = {
  name: GEMINI,
  places: PLACES,
  refusedTypes: REFUSED_TYPES,
  sayings: SAYINGS,
  readRequest,
  writeRequest,
  readAnswer,
  writeAnswer,
  streamReader: () => new GeminiStreamReader(),
  streamWriter: (context) => new GeminiStreamWriter(context),
  readError: readErrorBody,
  writeError: writeErrorBody,
};

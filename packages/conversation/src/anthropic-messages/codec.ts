import type { Codec } from "../codec.ts";
import { readErrorBody, writeErrorBody } from "./errors.ts";
import { PLACES, REFUSED_TYPES } from "./fields.ts";
import { ANTHROPIC_MESSAGES } from "./name.ts";
import { MessagesStreamReader, readAnswer } from "./read-answer.ts";
import { readRequest } from "./read-request.ts";
import { MessagesStreamWriter, writeAnswer } from "./write-answer.ts";
import { SAYINGS, writeRequest } from "./write-request.ts";

/** Anthropic Messages. */
export const anthropicMessagesCodec: Codec = {
  name: ANTHROPIC_MESSAGES,
  places: PLACES,
  refusedTypes: REFUSED_TYPES,
  sayings: SAYINGS,
  readRequest,
  writeRequest,
  readAnswer,
  writeAnswer,
  streamReader: () => new MessagesStreamReader(),
  streamWriter: (context) => new MessagesStreamWriter(context),
  readError: readErrorBody,
  writeError: writeErrorBody,
};

export type { AnswerUsage } from "./answer.ts";
export { anthropicMessagesCodec } from "./anthropic-messages/codec.ts";
export type { AskedInPath, Codec, Target } from "./codec.ts";
export { CODECS, findCodec } from "./codecs.ts";
export type { Fate } from "./fields.ts";
export type { Feature } from "./notes.ts";
export { openaiChatCodec } from "./openai-chat/codec.ts";
export { openaiResponsesCodec } from "./openai-responses/codec.ts";
export { AnswerTranslation, translateError, translateRequest, type TranslatedRequest } from "./translate.ts";

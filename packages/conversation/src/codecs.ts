import { anthropicMessagesCodec } from "./anthropic-messages/codec.ts";
import type { Codec } from "./codec.ts";
import { geminiCodec } from "./gemini/codec.ts";
import { openaiChatCodec } from "./openai-chat/codec.ts";
import { openaiResponsesCodec } from "./openai-responses/codec.ts";

/** Every dialect that is translated. */
export const CODECS: readonly Codec[] = [anthropicMessagesCodec, openaiChatCodec, openaiResponsesCodec, geminiCodec];

/** By its name. Throws for one that is not there: names come from codecs. */
export function findCodec(name: string): Codec {
  const codec = CODECS.find((one) => one.name === name);
  if (!codec) throw new Error(`There is no codec "${name}".`);
  return codec;
}

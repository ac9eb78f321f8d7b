import type { IncomingHttpHeaders } from "node:http";
import { anthropicMessages } from "./anthropic-messages.ts";
import type { Dialect } from "./dialect.ts";
import { openaiChat } from "./openai-chat.ts";

/** Every dialect that callers may speak. The last is for callers of whom nothing is known. */
export const DIALECTS: readonly [Dialect, ...Dialect[]] = [anthropicMessages, openaiChat];

/** The dialect in which a caller is answered whose route says nothing: the model list, an unknown path. */
export function dialectOfCaller(headers: IncomingHttpHeaders): Dialect {
  return DIALECTS.find((dialect) => dialect.isSpokenBy(headers)) ?? DIALECTS[0];
}

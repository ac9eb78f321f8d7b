import type { IncomingHttpHeaders } from "node:http";
import { PROVIDERS } from "./registry.ts";
import type { Dialect } from "../dialects/dialect.ts";
import { openaiChat } from "../dialects/openai-chat.ts";

/** Every dialect that callers may speak: those that some provider speaks. */
export const DIALECTS: readonly Dialect[] = [...new Set(PROVIDERS.flatMap(({ dialects }) => dialects))];

/** The dialect in which a caller is answered whose route says nothing (the model list, an unknown path); OpenAI's for one of whom nothing is known. */
export function dialectOfCaller(headers: IncomingHttpHeaders): Dialect {
  return DIALECTS.find((dialect) => dialect.isSpokenBy(headers)) ?? openaiChat;
}

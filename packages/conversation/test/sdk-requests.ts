import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { MessageCreateParamsNonStreaming as BetaParams } from "@anthropic-ai/sdk/resources/beta/messages/messages.js";
import type { ResponseCreateParamsNonStreaming } from "openai/resources/responses/responses.js";
import type { ChatCompletionCreateParamsNonStreaming } from "openai/resources/chat/completions/completions.js";

/** The requests of the SDKs as they are installed: what the tables of fields are held against. */
export interface SDKRequests {
  readonly "anthropic-messages": MessageCreateParamsNonStreaming;
  readonly "anthropic-messages (beta)": BetaParams;
  readonly "openai-chat": ChatCompletionCreateParamsNonStreaming;
  readonly "openai-responses": ResponseCreateParamsNonStreaming;
}

import type { MessageCreateParamsNonStreaming } from "@anthropic-ai/sdk/resources/messages/messages.js";
import type { MessageCreateParamsNonStreaming as BetaParams } from "@anthropic-ai/sdk/resources/beta/messages/messages.js";
import type { Content, GenerateContentConfig, GenerationConfig, ImageConfig, Tool } from "@google/genai";
import type { ResponseCreateParamsNonStreaming } from "openai/resources/responses/responses.js";
import type { ChatCompletionCreateParamsNonStreaming } from "openai/resources/chat/completions/completions.js";

/** What Google's SDK keeps to itself, or sends to another API of Google's alone. */
type NotSent =
  | "abortSignal"
  | "automaticContinuation"
  | "automaticFunctionCalling"
  | "generationOutputConfig"
  | "httpOptions"
  | "imageConfig"
  | "modelArmorConfig"
  | "tools";

/** Google's SDK has one more than its own type. */
interface SentGenerationConfig extends GenerationConfig {
  readonly imageConfig?: ImageConfig;
}

/** What Google's SDK makes of its parameters: fields that a `GenerationConfig` has stand there, all others beside it. */
interface GenerateContentRequest extends Omit<GenerateContentConfig, keyof GenerationConfig | NotSent> {
  readonly contents: Content[];
  readonly tools: Tool[];
  readonly generationConfig: SentGenerationConfig;
}

/** The requests of the SDKs as they are installed: what the tables of fields are held against. */
export interface SDKRequests {
  readonly "anthropic-messages": MessageCreateParamsNonStreaming;
  readonly "anthropic-messages (beta)": BetaParams;
  readonly "gemini": GenerateContentRequest;
  readonly "openai-chat": ChatCompletionCreateParamsNonStreaming;
  readonly "openai-responses": ResponseCreateParamsNonStreaming;
}

import type { Signature } from "./conversation.ts";

/** Where words of an answer are taken from. */
export interface Citation {
  readonly url: string;
  readonly title: string | undefined;
  readonly text: string | undefined;
}

/** A piece of an answer that begins; its words follow. */
export type OpenPart =
  | { readonly kind: "text" }
  | { readonly kind: "refusal" }
  | { readonly kind: "thinking"; readonly isRedacted?: boolean | undefined }
  | { readonly kind: "toolCall"; readonly id: string; readonly name: string; readonly isFreeform?: boolean | undefined };

/**
 * Why an answer is over:
 *
 * - `end`: the model had said all
 * - `length`: it had as many tokens as it may; `context`: as many as the model holds
 * - `stop`: a stop sequence came
 * - `tool_calls`: the caller's tools are to be called
 * - `refusal`: the model, or a filter, declined
 * - `pause`: the provider stopped a long turn, which goes on when it is sent back
 */
export interface Finish {
  readonly reason: "end" | "length" | "context" | "stop" | "tool_calls" | "refusal" | "pause";
  /** The sequence that came, where the dialect says it. */
  readonly stopSequence?: string | undefined;
}

/** An error of a provider, as every dialect can tell it. */
export interface ProviderError {
  /** Undefined within a stream. */
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly code: string | undefined;
  readonly message: string;
  readonly param: string | undefined;
}

/**
 * An answer piece by piece. Parts come one after the other: `open`, then what belongs to it, then `close`, and only then the next one. `finish` says
 * why it is over and comes once; nothing but the end of the stream follows it.
 */
export type AnswerEvent =
  | { readonly kind: "start"; readonly id: string | undefined; readonly model: string | undefined }
  | { readonly kind: "open"; readonly part: OpenPart }
  | { readonly kind: "delta"; readonly text: string }
  | { readonly kind: "signature"; readonly signature: Signature }
  | { readonly kind: "citation"; readonly citation: Citation }
  | { readonly kind: "close" }
  | { readonly kind: "finish"; readonly finish: Finish }
  | { readonly kind: "error"; readonly error: ProviderError };

/** Tokens of an answer; the classes do not overlap but for `reasoningTokens`, which are output. */
export interface AnswerUsage {
  /** Neither read from nor written to a cache. */
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
}

/** The whole input, cached or not, as OpenAI counts it. */
export function wholeInput({ inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens }: AnswerUsage): number {
  return inputTokens + cacheReadTokens + cacheWrite5mTokens + cacheWrite1hTokens;
}

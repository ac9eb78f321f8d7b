/**
 * What one answer cost in tokens, in one shape for every dialect. The classes do not overlap, so a price is a sum of
 * products. Anthropic reports `input_tokens` without cached tokens, OpenAI `prompt_tokens` with them: the reader of each
 * dialect brings its report into this shape, and nothing after it has to know.
 */
export interface Usage {
  /** Input tokens that were neither read from nor written to a cache. */
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  /** Cache writes that live 5 minutes (Anthropic's default), and those that live an hour. */
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  /** All output tokens, reasoning included. */
  readonly outputTokens: number;
  /** The part of `outputTokens` that was reasoning; priced as output, kept for reports. */
  readonly reasoningTokens: number;
}

export const NO_USAGE: Usage = {
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
  reasoningTokens: 0,
};

/** LiteLLM's `prompt_tokens`: everything on the input side, cached or not. */
export function promptTokens(usage: Usage): number {
  return usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens;
}

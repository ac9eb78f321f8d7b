/**
 * What one part of an answer used in tokens, in one shape for every dialect. The classes do not overlap, so a price is a sum
 * of products. Anthropic reports `input_tokens` without cached tokens, OpenAI `prompt_tokens` with them: the reader of each
 * dialect brings its report into this shape, and nothing after it has to know.
 */
export interface Usage {
  /** Input tokens that were neither read from nor written to a cache, nor audio. */
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  /** Cache writes that live 5 minutes (Anthropic's default), and those that live an hour. */
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  /** Audio in the input, not cached and read from a cache. */
  readonly audioInputTokens: number;
  readonly audioCacheReadTokens: number;
  /** Output tokens that are not audio, reasoning included. */
  readonly outputTokens: number;
  readonly audioOutputTokens: number;
  /** The part of `outputTokens` that was reasoning; priced as output, kept for reports. */
  readonly reasoningTokens: number;
}

/** The classes that a price has a rate for; `reasoningTokens` is a part of one of them. */
export const INPUT_CLASSES = [
  "inputTokens",
  "cacheReadTokens",
  "cacheWrite5mTokens",
  "cacheWrite1hTokens",
  "audioInputTokens",
  "audioCacheReadTokens",
] as const satisfies readonly (keyof Usage)[];
/** Classes of tokens that an answer is made of. */
export const OUTPUT_CLASSES = ["outputTokens", "audioOutputTokens"] as const satisfies readonly (keyof Usage)[];
/** Every class of tokens that has a price of its own; each token is in exactly one. */
export const PRICED_CLASSES = [...INPUT_CLASSES, ...OUTPUT_CLASSES] as const;
/** One of {@link PRICED_CLASSES}. */
export type PricedClass = (typeof PRICED_CLASSES)[number];

/** Usage of an answer that consumed nothing. */
export const NO_USAGE: Usage = {
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  audioInputTokens: 0,
  audioCacheReadTokens: 0,
  outputTokens: 0,
  audioOutputTokens: 0,
  reasoningTokens: 0,
};

/** LiteLLM's `prompt_tokens`: everything on the input side, cached or not. */
export function promptTokens(usage: Usage): number {
  return INPUT_CLASSES.reduce((sum, name) => sum + usage[name], 0);
}

/** LiteLLM's `completion_tokens`: everything on the output side. */
export function completionTokens(usage: Usage): number {
  return usage.outputTokens + usage.audioOutputTokens;
}

/** Class by class. */
export function addUsage(a: Usage, b: Usage): Usage {
  const sum = (name: keyof Usage): number => a[name] + b[name];
  return {
    inputTokens: sum("inputTokens"),
    cacheReadTokens: sum("cacheReadTokens"),
    cacheWrite5mTokens: sum("cacheWrite5mTokens"),
    cacheWrite1hTokens: sum("cacheWrite1hTokens"),
    audioInputTokens: sum("audioInputTokens"),
    audioCacheReadTokens: sum("audioCacheReadTokens"),
    outputTokens: sum("outputTokens"),
    audioOutputTokens: sum("audioOutputTokens"),
    reasoningTokens: sum("reasoningTokens"),
  };
}

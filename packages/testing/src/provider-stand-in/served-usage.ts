/**
 * The tokens that an answer of the stand-in claims. Same classes as `metering/src/usage/usage.ts` (which this package
 * may not import), so a test prices `entry.usage` as it is and compares.
 */
export interface ServedUsage {
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  /** Reasoning included. */
  readonly outputTokens: number;
  readonly reasoningTokens: number;
}

/** The stand-in's tokenizer: four bytes of JSON are a token, rounded up. The same request always counts the same. */
export function countTokens(value: unknown): number {
  if (value === undefined) return 0;
  return Math.ceil(Buffer.byteLength(typeof value === "string" ? value : JSON.stringify(value)) / BYTES_PER_TOKEN);
}

export const BYTES_PER_TOKEN = 4;

/** What a request that asks for reasoning spends on it, on top of its visible answer. */
export const REASONING_TOKENS = 32;

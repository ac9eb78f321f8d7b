import { type DecimalText, picoUsdFromDecimal } from "@proliferate/shared/money";
import { ONE } from "./fraction.ts";
import type { Price } from "./price.ts";

/** Rates that config.yaml sets for one model, in USD per token, as written there. LiteLLM's names are in the comments. */
export interface PriceOverride {
  /** `input_cost_per_token` */
  readonly inputUsd?: DecimalText;
  /** `output_cost_per_token` */
  readonly outputUsd?: DecimalText;
  /** `cache_read_input_token_cost` */
  readonly cacheReadUsd?: DecimalText;
  /** `cache_creation_input_token_cost` */
  readonly cacheWrite5mUsd?: DecimalText;
  /** `cache_creation_input_token_cost_above_1hr` */
  readonly cacheWrite1hUsd?: DecimalText;
}

/**
 * The list price with the given rates put over it. A rate that neither has: input and output are required (undefined is
 * returned), a cache read costs what input costs, a write likewise, an hour's write what the 5 minutes' does: never
 * nothing. An override is flat: it has no long-context rates. Throws RangeError for text that is no rate of whole
 * pico-USD, or negative.
 */
export function overridePrice(name: string, list: Price | undefined, override: PriceOverride): Price | undefined {
  const inputTokens = rateFromDecimal(override.inputUsd) ?? list?.rates.inputTokens;
  const outputTokens = rateFromDecimal(override.outputUsd) ?? list?.rates.outputTokens;
  if (inputTokens === undefined || outputTokens === undefined) return undefined;
  const cacheReadTokens = rateFromDecimal(override.cacheReadUsd) ?? list?.rates.cacheReadTokens ?? inputTokens;
  const cacheWrite5mTokens = rateFromDecimal(override.cacheWrite5mUsd) ?? list?.rates.cacheWrite5mTokens ?? inputTokens;
  const cacheWrite1hTokens = rateFromDecimal(override.cacheWrite1hUsd) ?? list?.rates.cacheWrite1hTokens ?? cacheWrite5mTokens;
  const rates = { inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, audioInputTokens: inputTokens, audioCacheReadTokens: cacheReadTokens, outputTokens, audioOutputTokens: outputTokens };
  return { id: `config:${name}`, rates, tiers: [], modifiers: {}, fees: {}, multiplier: ONE, unlisted: ["audioInputTokens", "audioCacheReadTokens", "audioOutputTokens"], isFree: false };
}

function rateFromDecimal(usd: DecimalText | undefined): bigint | undefined {
  if (usd === undefined) return undefined;
  const rate = picoUsdFromDecimal(usd);
  if (rate < 0n) throw new RangeError(`"${usd}" is negative`);
  return rate;
}

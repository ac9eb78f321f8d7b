import { type DecimalText, picoUsdFromDecimal } from "@proliferate/shared/money";
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
  const input = rateFromDecimal(override.inputUsd) ?? list?.rates.input;
  const output = rateFromDecimal(override.outputUsd) ?? list?.rates.output;
  if (input === undefined || output === undefined) return undefined;
  const cacheRead = rateFromDecimal(override.cacheReadUsd) ?? list?.rates.cacheRead ?? input;
  const cacheWrite5m = rateFromDecimal(override.cacheWrite5mUsd) ?? list?.rates.cacheWrite5m ?? input;
  const cacheWrite1h = rateFromDecimal(override.cacheWrite1hUsd) ?? list?.rates.cacheWrite1h ?? cacheWrite5m;
  return { id: `config:${name}`, rates: { input, cacheRead, cacheWrite5m, cacheWrite1h, output }, longContext: undefined };
}

function rateFromDecimal(usd: DecimalText | undefined): bigint | undefined {
  if (usd === undefined) return undefined;
  const rate = picoUsdFromDecimal(usd);
  if (rate < 0n) throw new RangeError(`"${usd}" is negative`);
  return rate;
}

import { promptTokens, type Usage } from "../metering/usage.ts";

/** Whole pico-USD (10^-12 USD) per token: $3 per million tokens is 3,000,000. */
export interface TokenRates {
  readonly input: bigint;
  readonly cacheRead: bigint;
  readonly cacheWrite5m: bigint;
  readonly cacheWrite1h: bigint;
  /** Reasoning included. */
  readonly output: bigint;
}

export interface Price {
  /** Stored with each attempt: `anthropic/claude-sonnet-5`, or `config:NAME` for a price that config.yaml sets. */
  readonly id: string;
  readonly rates: TokenRates;
  /** A request whose whole input (cached or not) is larger than `aboveTokens` pays these rates for everything. */
  readonly longContext: LongContextRates | undefined;
}

export interface LongContextRates {
  readonly aboveTokens: number;
  readonly rates: TokenRates;
}

/** What an answer costs, in pico-USD: exact, and never negative. */
export function priceUsage(price: Price, usage: Usage): bigint {
  const rates = ratesFor(price, promptTokens(usage));
  return (
    BigInt(usage.inputTokens) * rates.input +
    BigInt(usage.cacheReadTokens) * rates.cacheRead +
    BigInt(usage.cacheWrite5mTokens) * rates.cacheWrite5m +
    BigInt(usage.cacheWrite1hTokens) * rates.cacheWrite1h +
    BigInt(usage.outputTokens) * rates.output
  );
}

/**
 * The most that a request of this size can cost, in pico-USD: its whole input at the dearest input class (an hour's cache
 * write, where there is one) and its output up to the limit. As good as the caller's count of input tokens.
 */
export function worstCasePicoUsd(price: Price, inputTokens: number, maxOutputTokens: number): bigint {
  const { input, cacheRead, cacheWrite5m, cacheWrite1h, output } = ratesFor(price, inputTokens);
  const dearest = [cacheRead, cacheWrite5m, cacheWrite1h].reduce((most, rate) => (rate > most ? rate : most), input);
  return BigInt(inputTokens) * dearest + BigInt(maxOutputTokens) * output;
}

/** The rates that a request with this much input pays. */
export function ratesFor(price: Price, inputTokens: number): TokenRates {
  const { longContext } = price;
  return longContext && inputTokens > longContext.aboveTokens ? longContext.rates : price.rates;
}

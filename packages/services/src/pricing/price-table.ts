import { ONE } from "./fraction.ts";
import type { Price, PriceSchedule, TokenRates } from "./price.ts";
import table from "./prices.json" with { type: "json" };

/** The providers that have prices here. */
export type PricedProvider = "anthropic" | "openai";

/** A model of the table: what it costs over time, and how much it takes and answers. */
export interface ListedModel {
  readonly prices: PriceSchedule;
  /** Most tokens of input and output together; undefined where no source says. */
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
  /** ISO day on which the provider stops to serve it. */
  readonly retiresOn: string | undefined;
}

/** A row of prices.json: `[input, cacheRead, cacheWrite5m, cacheWrite1h, output]` in pico-USD per token. */
type RateColumns = readonly number[];

interface PriceRow {
  readonly rates: RateColumns;
  readonly longContext?: { readonly aboveTokens: number; readonly rates: RateColumns };
}

const MODELS = new Map<string, ListedModel>(Object.entries(table.models as Readonly<Record<string, PriceRow>>).map(([id, row]) => [id, listed(id, row)]));

/** The dates that providers append to a model's name: `-20250929`, `-2026-03-05`. */
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

/**
 * A model by its upstream name. A dated snapshot is its model, unless it has a row of its own; otherwise names match
 * exactly, so that a new generation never gets the price of an older one. Undefined for a model that is not in the table.
 */
export function findListedModel(provider: PricedProvider, model: string): ListedModel | undefined {
  return MODELS.get(`${provider}/${model}`) ?? MODELS.get(`${provider}/${model.replace(SNAPSHOT_DATE, "")}`);
}

/** The list price of a model for a request that began at this moment. */
export function findPrice(provider: PricedProvider, model: string, startedAt: Date): Price | undefined {
  return findListedModel(provider, model)?.prices.at(startedAt);
}

/** Where the table comes from, for people who ask: package, version, license, and the day its prices were valid. */
export const PRICE_SOURCE: Readonly<Record<"package" | "version" | "license" | "asOf", string>> = table.source;

function listed(id: string, row: PriceRow): ListedModel {
  const price = priceOf(id, row);
  return { prices: { id, at: () => price }, contextTokens: undefined, maxOutputTokens: undefined, retiresOn: undefined };
}

function priceOf(id: string, row: PriceRow): Price {
  return {
    id,
    rates: ratesOf(row.rates),
    tiers: row.longContext ? [{ aboveTokens: row.longContext.aboveTokens, rates: ratesOf(row.longContext.rates) }] : [],
    modifiers: {},
    fees: {},
    multiplier: ONE,
    unlisted: ["audioInputTokens", "audioCacheReadTokens", "audioOutputTokens"],
    isFree: false,
  };
}

function ratesOf(columns: RateColumns): TokenRates {
  // A missing column is a broken file; BigInt refuses NaN, so it cannot become a price of zero.
  const [input, cacheRead, cacheWrite5m, cacheWrite1h, output] = [0, 1, 2, 3, 4].map((index) => BigInt(columns[index] ?? Number.NaN)) as [bigint, bigint, bigint, bigint, bigint];
  return {
    inputTokens: input,
    cacheReadTokens: cacheRead,
    cacheWrite5mTokens: cacheWrite5m,
    cacheWrite1hTokens: cacheWrite1h,
    audioInputTokens: input,
    audioCacheReadTokens: cacheRead,
    outputTokens: output,
    audioOutputTokens: output,
  };
}

import type { LongContextRates, Price, TokenRates } from "./price.ts";
import table from "./prices.json" with { type: "json" };

/** The providers that have prices here. */
export type PricedProvider = "anthropic" | "openai";

/** A row of prices.json: `[input, cacheRead, cacheWrite5m, cacheWrite1h, output]` in pico-USD per token. */
type RateColumns = readonly number[];

interface PriceRow {
  readonly rates: RateColumns;
  readonly longContext?: { readonly aboveTokens: number; readonly rates: RateColumns };
}

const ROWS = new Map<string, PriceRow>(Object.entries(table.models as Readonly<Record<string, PriceRow>>));

/** The dates that providers append to a model's name: `-20250929`, `-2026-03-05`. */
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

/**
 * The list price of a model by its upstream name. A dated snapshot has the price of its model; otherwise names match
 * exactly, so that a new generation never gets the price of an older one. Undefined for a model that is not in the table.
 */
export function findPrice(provider: PricedProvider, model: string): Price | undefined {
  const row = ROWS.get(`${provider}/${model}`);
  if (row) return priceOf(`${provider}/${model}`, row);
  const undated = `${provider}/${model.replace(SNAPSHOT_DATE, "")}`;
  const undatedRow = ROWS.get(undated);
  return undatedRow && priceOf(undated, undatedRow);
}

/** Where the table comes from, for people who ask: package, version, license, and the day its prices were valid. */
export const PRICE_SOURCE: Readonly<Record<"package" | "version" | "license" | "asOf", string>> = table.source;

function priceOf(id: string, row: PriceRow): Price {
  const longContext: LongContextRates | undefined = row.longContext && {
    aboveTokens: row.longContext.aboveTokens,
    rates: ratesOf(row.longContext.rates),
  };
  return { id, rates: ratesOf(row.rates), longContext };
}

function ratesOf(columns: RateColumns): TokenRates {
  // A missing column is a broken file; BigInt refuses NaN, so it cannot become a price of zero.
  const [input, cacheRead, cacheWrite5m, cacheWrite1h, output] = [0, 1, 2, 3, 4].map((index) => BigInt(columns[index] ?? Number.NaN)) as [bigint, bigint, bigint, bigint, bigint];
  return { input, cacheRead, cacheWrite5m, cacheWrite1h, output };
}

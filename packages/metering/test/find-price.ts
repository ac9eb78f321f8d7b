import { findListedModel, type PricedProvider } from "../src/pricing/price-table.ts";
import type { Price } from "../src/pricing/price.ts";

/** The list price of a model for a request that began at this moment; undefined for a model that is not in the table. */
export function findPrice(provider: PricedProvider, model: string, startedAt: Date): Price | undefined {
  return findListedModel(provider, model)?.prices.at(startedAt);
}

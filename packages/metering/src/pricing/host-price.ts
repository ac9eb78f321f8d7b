import { fractionFromText, multiply } from "./fraction.ts";
import { listedModels } from "./price-table.ts";
import type { Price, PriceSchedule } from "./price.ts";

/** The same prices on a host whose every rate is so many times higher; the id says so: `openai/gpt-5.4*1.1`. */
export function onHost(prices: PriceSchedule, multiplier: string | undefined): PriceSchedule {
  if (multiplier === undefined) return prices;
  const id = `${prices.id}*${multiplier}`;
  const factor = fractionFromText(multiplier);
  const priced = new Map<Price, Price>();
  return {
    id,
    changesOn: prices.changesOn,
    at: (startedAt) => {
      const price = prices.at(startedAt);
      const known = priced.get(price) ?? { ...price, id, multiplier: multiply(price.multiplier, factor) };
      priced.set(price, known);
      return known;
    },
  };
}

/** List prices by the id that an attempt or a row keeps. Undefined for a price that config.yaml had set, and for what is no longer listed. */
export function findPricesById(id: string): PriceSchedule | undefined {
  const [, model = "", multiplier] = /^([^*]+)(?:\*(\d+(?:\.\d+)?))?$/.exec(id) ?? [];
  const listed = listedModels().get(model);
  return listed && onHost(listed.prices, multiplier);
}

import type { RequestPrices } from "./cost.ts";
import { findListedModel, type PricedProvider, undatedName } from "./price-table.ts";
import type { Price, PriceSchedule } from "./price.ts";

/** What an attempt or a spend row says of its price. */
interface PricedRequest {
  readonly provider: PricedProvider;
  /** The deployment's model, as its provider names it. */
  readonly model: string;
  readonly prices: PriceSchedule;
  readonly startedAt: Date;
  /** The price of another model of the provider; the table's where nothing else is known. */
  readonly findPrices?: (name: string) => PriceSchedule | undefined;
}

/**
 * The prices that a request is settled at. An answer that names the deployment's own model, or a snapshot of it without a
 * price of its own, has the deployment's price; one that names another known model has that model's. What nobody knows has
 * no price, unless an operator has set this deployment's: then it is the operator's, whatever the server calls its model.
 */
export function requestPrices({ provider, model, prices, startedAt, findPrices }: PricedRequest): RequestPrices {
  const own = prices.at(startedAt);
  return {
    own,
    ofModel: (name) => {
      const bare = name.startsWith(`${provider}/`) ? name.slice(provider.length + 1) : name;
      if (isSameModel(provider, model, bare)) return own;
      const found = findPrices?.(bare) ?? findListedModel(provider, bare)?.prices;
      return found?.at(startedAt) ?? operatorsPrice(own);
    },
  };
}

/** Two names of one model: the same, or snapshots that the table does not tell apart. */
function isSameModel(provider: PricedProvider, a: string, b: string): boolean {
  if (a === b) return true;
  const [listedA, listedB] = [findListedModel(provider, a), findListedModel(provider, b)];
  return listedA === listedB && (listedA !== undefined || undatedName(a) === undatedName(b));
}

function operatorsPrice(own: Price): Price | undefined {
  return own.id.startsWith("config:") ? own : undefined;
}

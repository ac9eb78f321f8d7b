import type { Fee, ModifierKind, PricedClass } from "../usage/index.ts";
import type { Fraction } from "./fraction.ts";

/** Whole pico-USD (10^-12 USD) per token of each class: $3 per million tokens is 3,000,000. */
export type TokenRates = Readonly<Record<PricedClass, bigint>>;

/** A request whose whole input (cached or not) is larger than `aboveTokens` pays these rates for everything. */
export interface RateTier {
  /** Exclusive: a request of exactly so many tokens pays what is below the tier. */
  readonly aboveTokens: number;
  readonly rates: TokenRates;
}

/** Rates by class and by the size of the prompt. */
export interface RateCard {
  readonly rates: TokenRates;
  /** Ascending by `aboveTokens`; the last one that a request exceeds holds. */
  readonly tiers: readonly RateTier[];
}

/**
 * What a reported modifier does to the rates: it multiplies all of them, or has a card of its own. Multipliers stack; of
 * several cards at once the price would not be known, and such a combination counts as unpriced.
 */
export type Modifier = (
  | { readonly multiplier: Fraction; readonly card?: undefined }
  | { readonly card: RateCard; readonly multiplier?: undefined }
) & {
  /** The price is known for prompts of at most so many tokens; a larger one is unpriced. Missing: for any. */
  readonly upToTokens?: number | undefined;
};

/** What a model costs at one moment. */
export interface Price extends RateCard {
  /** Stored with each attempt: `anthropic/claude-sonnet-5`, or `config:NAME` for a price that config.yaml sets. */
  readonly id: string;
  /** The known ones; what is reported and is not here is unpriced, never standard. */
  readonly modifiers: Readonly<Partial<Record<ModifierKind, ReadonlyMap<string, Modifier>>>>;
  /** Pico-USD per use; a use without a fee here is unpriced. */
  readonly fees: Readonly<Partial<Record<Fee, bigint>>>;
  /** On every rate: what the host costs (`eu.api.openai.com` 11/10). Fees are not multiplied. */
  readonly multiplier: Fraction;
  /** Classes that have no price of their own and count at their text sibling's rate; tokens in them are flagged. */
  readonly unlisted: readonly PricedClass[];
  /** Whoever configured it set every rate to 0 in so many words: the model is free, not unpriced. */
  readonly isFree: boolean;
}

/** What a model costs over time. */
export interface PriceSchedule {
  /** The same for all periods. */
  readonly id: string;
  /** ISO days on which it changes; none where it never did. */
  readonly changesOn: readonly string[];
  /** The price of a request that began at this moment. */
  at(startedAt: Date): Price;
}

/** The rates that a request with this much input pays. */
export function ratesFor(card: RateCard, inputTokens: number): TokenRates {
  return card.tiers.findLast((tier) => inputTokens > tier.aboveTokens)?.rates ?? card.rates;
}

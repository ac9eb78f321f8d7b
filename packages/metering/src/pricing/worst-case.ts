import {
  type FeeCounts,
  FEES,
  INPUT_CLASSES,
  MODIFIER_KINDS,
  OUTPUT_CLASSES,
  type PricedClass,
  type UsageModifiers,
} from "../usage/index.ts";
import { applyModifiers } from "./cost.ts";
import { ceiling, type Fraction, multiply, whole } from "./fraction.ts";
import type { Price, RateCard } from "./price.ts";

/** Upper bounds of what a request can use; the result is as good as they are. */
export interface WorstCaseRequest {
  readonly inputTokens: number;
  /** Over all choices. */
  readonly outputTokens: number;
  /** Every combination of modifiers that may serve; default the standard one only. What has no price is passed over: refuse it before. */
  readonly modifiers?: readonly UsageModifiers[];
  /** Most uses of what has a fee. */
  readonly uses?: FeeCounts;
}

/**
 * The most that such a request can cost at this price, in pico-USD: its whole input at the dearest input class, its output
 * at the dearest output class, in the dearest tier that it can reach and with the dearest of the modifiers that may apply.
 */
export function worstCasePicoUsd(price: Price, request: WorstCaseRequest): bigint {
  const alternatives = request.modifiers?.length ? request.modifiers : [{}];
  const tokens = alternatives.map((modifiers) => {
    const { card } = applyModifiers(price, modifiers, 0, new Set());
    return ceiling(multiply(whole(dearestOf(card, request)), dearestMultiplier(price, modifiers, request.inputTokens)));
  });
  const fees = FEES.reduce((sum, name) => sum + BigInt(request.uses?.[name] ?? 0) * (price.fees[name] ?? 0n), 0n);
  return tokens.reduce(larger, 0n) + fees;
}

/** A discount that ends at some size of prompt may not apply: then it counts as none. */
function dearestMultiplier(price: Price, modifiers: UsageModifiers, inputTokens: number): Fraction {
  return MODIFIER_KINDS.reduce((product, kind) => {
    const value = modifiers[kind];
    const modifier = value === undefined ? undefined : price.modifiers[kind]?.get(value);
    if (!modifier?.multiplier) return product;
    const mayEnd = modifier.upToTokens !== undefined && inputTokens > modifier.upToTokens;
    const isDiscount = modifier.multiplier.numerator < modifier.multiplier.denominator;
    return mayEnd && isDiscount ? product : multiply(product, modifier.multiplier);
  }, price.multiplier);
}

function dearestOf(card: RateCard, request: WorstCaseRequest): bigint {
  const reachable = [card, ...card.tiers.filter((tier) => request.inputTokens > tier.aboveTokens)];
  const dearest = (classes: readonly PricedClass[]): bigint =>
    reachable.flatMap(({ rates }) => classes.map((name) => rates[name])).reduce(larger, 0n);
  return BigInt(request.inputTokens) * dearest(INPUT_CLASSES) + BigInt(request.outputTokens) * dearest(OUTPUT_CLASSES);
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

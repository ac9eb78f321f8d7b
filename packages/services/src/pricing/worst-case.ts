import { FEES, type FeeCounts, type UsageModifiers } from "../metering/usage-report.ts";
import { INPUT_CLASSES, OUTPUT_CLASSES, type PricedClass } from "../metering/usage.ts";
import { applyModifiers } from "./cost.ts";
import { ceiling, multiply, whole } from "./fraction.ts";
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
    const { card, multiplier } = applyModifiers(price, modifiers, 0, new Set());
    return ceiling(multiply(whole(dearestOf(card, request)), multiplier));
  });
  const fees = FEES.reduce((sum, name) => sum + BigInt(request.uses?.[name] ?? 0) * (price.fees[name] ?? 0n), 0n);
  return tokens.reduce(larger, 0n) + fees;
}

function dearestOf(card: RateCard, request: WorstCaseRequest): bigint {
  const reachable = [card, ...card.tiers.filter((tier) => request.inputTokens > tier.aboveTokens)];
  const dearest = (classes: readonly PricedClass[]): bigint => reachable.flatMap(({ rates }) => classes.map((name) => rates[name])).reduce(larger, 0n);
  return BigInt(request.inputTokens) * dearest(INPUT_CLASSES) + BigInt(request.outputTokens) * dearest(OUTPUT_CLASSES);
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

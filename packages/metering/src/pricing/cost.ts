import {
  FEES,
  INPUT_CLASSES,
  MODIFIER_KINDS,
  NO_USAGE,
  OUTPUT_CLASSES,
  type PricedClass,
  promptTokens,
  type Usage,
  type UsageModifiers,
  type UsagePart,
  type UsageReport,
} from "../usage/index.ts";
import { add, ceiling, type Fraction, multiply, whole, ZERO } from "./fraction.ts";
import { type Price, type RateCard, ratesFor } from "./price.ts";
import { decimalFromPicoUsd, type DecimalText } from "@proliferate/shared/money";

/** The prices that a request is settled at: chosen by the moment it began. */
export interface RequestPrices {
  readonly own: Price;
  /** Of another model of the same provider, by the name that the provider reports; undefined if it is not known. */
  readonly ofModel: (model: string) => Price | undefined;
}

/** Pico-USD, exact but for one rounding up of the sum to a whole pico-USD; never negative. */
export interface PricedReport {
  readonly inputPicoUsd: bigint;
  readonly outputPicoUsd: bigint;
  /** Fees per use. */
  readonly toolPicoUsd: bigint;
  /** The sum of the three. */
  readonly totalPicoUsd: bigint;
  /** What was reported and has no price here (`service_tier=priority`, `model=x`): billed as if it were not there, and flagged. */
  readonly unpriced: readonly string[];
  /** It costs nothing by right: whoever configured the model says so, or the provider's own rule for all of its parts. */
  readonly isFree: boolean;
}

/** What an answer costs; where its provider contradicts itself, by the dearer of its words. */
export function priceReport(prices: RequestPrices, report: UsageReport): PricedReport {
  return priceParts(prices, dearerReading(prices, report));
}

/** The report by the dearer of the provider's words, and without the others. */
export function dearerReading(prices: RequestPrices, { otherwise, ...report }: UsageReport): UsageReport {
  if (!otherwise) return report;
  const other = { ...report, parts: otherwise };
  return priceParts(prices, other).totalPicoUsd > priceParts(prices, report).totalPicoUsd ? other : report;
}

function priceParts(prices: RequestPrices, report: UsageReport): PricedReport {
  const unpriced = new Set<string>();
  let input = ZERO;
  let output = ZERO;
  for (const part of report.parts) {
    if (part.waived) continue;
    const { card, multiplier } = cardOf(prices, part, unpriced);
    const rates = ratesFor(card, promptTokens(part.usage));
    input = add(input, multiply(whole(sumOf(rates, part.usage, INPUT_CLASSES)), multiplier));
    output = add(output, multiply(whole(sumOf(rates, part.usage, OUTPUT_CLASSES)), multiplier));
  }
  const toolPicoUsd = feesOf(prices.own, report, unpriced);
  const inputPicoUsd = ceiling(input);
  const tokensPicoUsd = ceiling(add(input, output));
  const totalPicoUsd = tokensPicoUsd + toolPicoUsd;
  const isFree = totalPicoUsd === 0n && (prices.own.isFree || report.parts.every((part) => part.waived !== undefined));
  return {
    inputPicoUsd,
    outputPicoUsd: tokensPicoUsd - inputPicoUsd,
    toolPicoUsd,
    totalPicoUsd,
    unpriced: [...unpriced].toSorted(),
    isFree,
  };
}

/** What tokens at standard rates cost, in pico-USD; classes that are not named are 0. */
export function priceUsage(price: Price, tokens: Partial<Usage>): bigint {
  const usage = { ...NO_USAGE, ...tokens };
  const rates = ratesFor(price, promptTokens(usage));
  return ceiling(multiply(whole(sumOf(rates, usage, INPUT_CLASSES) + sumOf(rates, usage, OUTPUT_CLASSES)), price.multiplier));
}

/** The names of those modifiers that this price does not know for a prompt of this size, as `unpriced` spells them. */
export function unpricedModifiers(price: Price, modifiers: UsageModifiers, inputTokens: number): readonly string[] {
  const unpriced = new Set<string>();
  applyModifiers(price, modifiers, inputTokens, unpriced);
  return [...unpriced];
}

const WIRE_NAMES = { serviceTier: "service_tier", speed: "speed", geography: "inference_geo" } as const;

/** The card and the multiplier on it that these modifiers lead to; those without a price are named and passed over. */
export function applyModifiers(
  price: Price,
  modifiers: UsageModifiers,
  inputTokens: number,
  unpriced: Set<string>,
): { readonly card: RateCard; readonly multiplier: Fraction } {
  let card: RateCard = price;
  let { multiplier } = price;
  for (const kind of MODIFIER_KINDS) {
    const value = modifiers[kind];
    if (value === undefined) continue;
    const modifier = price.modifiers[kind]?.get(value);
    const isSecondCard = modifier?.card !== undefined && card !== price;
    const isTooLarge = modifier?.upToTokens !== undefined && inputTokens > modifier.upToTokens;
    if (!modifier || isSecondCard || isTooLarge) unpriced.add(`${WIRE_NAMES[kind]}=${value}`);
    else if (modifier.card) ({ card } = modifier);
    else multiplier = multiply(multiplier, modifier.multiplier);
  }
  return { card, multiplier };
}

function cardOf(prices: RequestPrices, part: UsagePart, unpriced: Set<string>): { readonly card: RateCard; readonly multiplier: Fraction } {
  const found = part.model === undefined ? prices.own : prices.ofModel(part.model);
  if (!found) unpriced.add(`model=${part.model}`);
  const price = found ?? prices.own;
  for (const name of price.unlisted) if (part.usage[name] > 0) unpriced.add(`class=${name}`);
  return applyModifiers(price, part.modifiers, promptTokens(part.usage), unpriced);
}

function feesOf(price: Price, report: UsageReport, unpriced: Set<string>): bigint {
  let sum = 0n;
  for (const name of FEES) {
    const uses = report.uses[name] ?? 0;
    const fee = price.fees[name];
    if (uses > 0 && fee === undefined) unpriced.add(`fee=${name}`);
    sum += BigInt(uses) * (fee ?? 0n);
  }
  return sum;
}

function sumOf(rates: Readonly<Record<PricedClass, bigint>>, usage: Usage, classes: readonly PricedClass[]): bigint {
  return classes.reduce((sum, name) => sum + BigInt(usage[name]) * rates[name], 0n);
}

/** USD, exact. `totalUsd` = `inputUsd` (every class of input) + `outputUsd` + `toolUsd` (fees per use). */
export interface Cost {
  readonly inputUsd: DecimalText;
  readonly outputUsd: DecimalText;
  readonly toolUsd: DecimalText;
  readonly totalUsd: DecimalText;
}

/** Cost of an answer that consumed nothing. */
export const NO_COST: Cost = { inputUsd: "0", outputUsd: "0", toolUsd: "0", totalUsd: "0" };

/** What `priced` comes to in USD; no digit is lost. */
export function costOf({
  inputPicoUsd,
  outputPicoUsd,
  toolPicoUsd,
  totalPicoUsd,
}: Pick<PricedReport, "inputPicoUsd" | "outputPicoUsd" | "toolPicoUsd" | "totalPicoUsd">): Cost {
  return {
    inputUsd: decimalFromPicoUsd(inputPicoUsd),
    outputUsd: decimalFromPicoUsd(outputPicoUsd),
    toolUsd: decimalFromPicoUsd(toolPicoUsd),
    totalUsd: decimalFromPicoUsd(totalPicoUsd),
  };
}

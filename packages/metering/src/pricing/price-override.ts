import { type DecimalText, picoUsdFromDecimal } from "@proliferate/shared/money";
import type { Fee, ModifierKind, PricedClass } from "../usage/index.ts";
import { ceiling, fractionFromText, multiply, ONE, whole } from "./fraction.ts";
import { onHost } from "./host-price.ts";
import { type ListedModel, scheduleOf } from "./price-table.ts";
import type { Modifier, Price, PriceSchedule, RateCard, RateTier, TokenRates } from "./price.ts";
import type { RateSetting } from "./rate-setting.ts";

/** What config.yaml sets of one model's price. */
export interface PriceOverride {
  /** USD per token, as written. */
  readonly rates: readonly (RateSetting & { readonly usd: DecimalText })[];
  /** USD per use. */
  readonly fees: Readonly<Partial<Record<Fee, DecimalText>>>;
  /** Multipliers, as written, by what usage reports. */
  readonly multipliers: Readonly<Partial<Record<ModifierKind, Readonly<Record<string, string>>>>>;
  /** On every rate: of the host that serves. */
  readonly hostMultiplier: string | undefined;
}

/** An override that sets nothing: the listed price holds. */
export const NO_OVERRIDE: PriceOverride = { rates: [], fees: {}, multipliers: {}, hostMultiplier: undefined };

/**
 * The listed price with the settings put over it, at every date: what is not set stays as it is listed, tiers, modifiers and
 * fees included. Where nothing is listed, input and output are required (undefined is returned) and what is not set
 * costs what input costs: never nothing. Input and output of 0 in so many words make the model free. Throws RangeError for
 * text that is no rate of whole pico-USD, or negative.
 */
export function overridePrices(name: string, listed: ListedModel | undefined, override: PriceOverride): PriceSchedule | undefined {
  const isSet = override.rates.length > 0 || Object.keys(override.fees).length > 0 || Object.keys(override.multipliers).length > 0;
  if (!isSet) return listed && onHost(listed.prices, override.hostMultiplier);
  const id = `config:${name}`;
  const isSetFree = isZero(override, "inputTokens") && isZero(override, "outputTokens");
  if (isSetFree)
    return onHost(scheduleOf(id, [{ since: undefined, price: overridden(id, freePrice(id), override) }]), override.hostMultiplier);
  const before = [undefined, ...(listed?.prices.changesOn ?? [])];
  const periods = before.flatMap((since) => {
    const base = listed?.prices.at(new Date(since ?? "1970-01-01")) ?? unlistedPrice(id, override);
    return base ? [{ since, price: overridden(id, base, override) }] : [];
  });
  return periods.length === 0 ? undefined : onHost(scheduleOf(id, periods), override.hostMultiplier);
}

function overridden(id: string, base: Price, override: PriceOverride): Price {
  const standard = override.rates.filter(({ serviceTier }) => serviceTier === undefined);
  const card = overriddenCard(base, standard);
  const set = new Set(override.rates.map((rate) => rate.class));
  const fees = Object.fromEntries(Object.entries(override.fees).map(([fee, usd]) => [fee, rateFromDecimal(usd)]));
  const price = { ...base, id, ...card, fees: { ...base.fees, ...fees }, unlisted: base.unlisted.filter((name) => !set.has(name)) };
  return { ...price, modifiers: overriddenModifiers(price, override), isFree: isFree(price) };
}

/** The card with the rates put over it; a tier that is new begins as a copy of what held there. */
function overriddenCard(base: RateCard, rates: PriceOverride["rates"]): RateCard {
  const set = (above: number | undefined): Partial<TokenRates> =>
    Object.fromEntries(rates.filter(({ aboveTokens }) => aboveTokens === above).map((rate) => [rate.class, rateFromDecimal(rate.usd)]));
  const below = { ...base.rates, ...set(undefined) };
  const starts = new Set([...base.tiers.map((tier) => tier.aboveTokens), ...rates.flatMap(({ aboveTokens }) => aboveTokens ?? [])]);
  const tiers = [...starts]
    .toSorted((a, b) => a - b)
    .reduce<readonly RateTier[]>((done, aboveTokens) => {
      const listed = base.tiers.find((tier) => tier.aboveTokens === aboveTokens)?.rates ?? done.at(-1)?.rates ?? below;
      return [...done, { aboveTokens, rates: { ...listed, ...set(aboveTokens) } }];
    }, []);
  return { rates: below, tiers };
}

function overriddenModifiers(price: Price, override: PriceOverride): Price["modifiers"] {
  const modifiers = new Map(Object.entries(price.modifiers).map(([kind, values]) => [kind, new Map(values)]));
  const put = (kind: ModifierKind, value: string, modifier: Modifier): void =>
    void modifiers.set(kind, (modifiers.get(kind) ?? new Map<string, Modifier>()).set(value, modifier));
  for (const [kind, values] of Object.entries(override.multipliers)) {
    for (const [value, times] of Object.entries(values)) put(kind as ModifierKind, value, { multiplier: fractionFromText(times) });
  }
  for (const tier of new Set(override.rates.flatMap(({ serviceTier }) => serviceTier ?? []))) {
    const rates = override.rates.filter(({ serviceTier }) => serviceTier === tier);
    put("serviceTier", tier, { card: overriddenCard(multipliedCard(price, price.modifiers.serviceTier?.get(tier)), rates) });
  }
  return Object.fromEntries(modifiers);
}

/** What a service tier's card begins as: the listed multiple of the standard rates, or these themselves. */
function multipliedCard(price: RateCard, modifier: Modifier | undefined): RateCard {
  if (modifier?.card) return modifier.card;
  const factor = modifier?.multiplier ?? ONE;
  const times = (rates: TokenRates): TokenRates => mapRates(rates, (rate) => ceiling(multiply(whole(rate), factor)));
  return { rates: times(price.rates), tiers: price.tiers.map((tier) => ({ ...tier, rates: times(tier.rates) })) };
}

/** Undefined unless input and output are set. */
function unlistedPrice(id: string, override: PriceOverride): Price | undefined {
  const set = (name: PricedClass): bigint | undefined =>
    rateFromDecimal(
      override.rates.find((rate) => rate.class === name && rate.aboveTokens === undefined && rate.serviceTier === undefined)?.usd,
    );
  const [input, output] = [set("inputTokens"), set("outputTokens")];
  if (input === undefined || output === undefined) return undefined;
  const write = set("cacheWrite5mTokens") ?? input;
  const rates: TokenRates = {
    inputTokens: input,
    cacheReadTokens: input,
    cacheWrite5mTokens: write,
    cacheWrite1hTokens: write,
    audioInputTokens: input,
    audioCacheReadTokens: input,
    outputTokens: output,
    audioOutputTokens: output,
  };
  return {
    id,
    rates,
    tiers: [],
    modifiers: {},
    fees: {},
    multiplier: ONE,
    unlisted: ["audioInputTokens", "audioCacheReadTokens", "audioOutputTokens"],
    isFree: false,
  };
}

function freePrice(id: string): Price {
  const rates = {
    inputTokens: 0n,
    cacheReadTokens: 0n,
    cacheWrite5mTokens: 0n,
    cacheWrite1hTokens: 0n,
    audioInputTokens: 0n,
    audioCacheReadTokens: 0n,
    outputTokens: 0n,
    audioOutputTokens: 0n,
  };
  const fees = { webSearch: 0n, fileSearch: 0n, codeSession: 0n };
  return { id, rates, tiers: [], modifiers: {}, fees, multiplier: ONE, unlisted: [], isFree: true };
}

function isFree(price: Price): boolean {
  return (
    [price.rates, ...price.tiers.map((tier) => tier.rates)].every((rates) => Object.values(rates).every((rate) => rate === 0n)) &&
    Object.values(price.fees).every((fee) => fee === 0n)
  );
}

function isZero(override: PriceOverride, name: PricedClass): boolean {
  return override.rates.some(
    (rate) => rate.class === name && rate.aboveTokens === undefined && rate.serviceTier === undefined && rateFromDecimal(rate.usd) === 0n,
  );
}

function mapRates(rates: TokenRates, change: (rate: bigint) => bigint): TokenRates {
  return Object.fromEntries(Object.entries(rates).map(([name, rate]) => [name, change(rate)])) as unknown as TokenRates;
}

function rateFromDecimal(usd: DecimalText): bigint;
function rateFromDecimal(usd: DecimalText | undefined): bigint | undefined;
function rateFromDecimal(usd: DecimalText | undefined): bigint | undefined {
  if (usd === undefined) return undefined;
  const rate = picoUsdFromDecimal(usd);
  if (rate < 0n) throw new RangeError(`"${usd}" is negative`);
  return rate;
}

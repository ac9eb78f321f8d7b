import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { reportOf, type UsageModifiers } from "../usage/usage-report.ts";
import { NO_USAGE, type Usage } from "../usage/usage.ts";
import { NO_OVERRIDE, overridePrices } from "./price-override.ts";
import { findPrice } from "../../test/find-price.ts";
import { findListedModel } from "./price-table.ts";
import { priceReport, type PricedReport, priceUsage } from "./cost.ts";
import { findPricesById, onHost } from "./host-price.ts";
import type { Price, PriceSchedule } from "./price.ts";
import { readRateSetting } from "./rate-setting.ts";
import { requestPrices } from "./request-prices.ts";
import { worstCasePicoUsd } from "./worst-case.ts";

const NOW = new Date("2026-11-27T12:00:00Z");

const price = (provider: "anthropic" | "openai", model: string): Price => {
  const found = findPrice(provider, model, NOW);
  if (!found) throw new Error(`${model} has no price`);
  return found;
};

test("each class of tokens is priced at its own rate, exactly", () => {
  const usage = {
    inputTokens: 3,
    cacheReadTokens: 10_001,
    cacheWrite5mTokens: 7,
    cacheWrite1hTokens: 11,
    outputTokens: 13,
    reasoningTokens: 5,
  };

  const cost = priceUsage(price("anthropic", "claude-sonnet-5"), usage);

  expect(cost).toBe(3n * 2_000_000n + 10_001n * 200_000n + 7n * 2_500_000n + 11n * 4_000_000n + 13n * 10_000_000n);
});

test("the whole of a long-context request is priced above the step, cached input counting", () => {
  const sol = price("openai", "gpt-6-sol");
  const usage = { ...NO_USAGE, inputTokens: 1, cacheReadTokens: 271_999, outputTokens: 1 };

  expect(priceUsage(sol, usage)).toBe(2_000_000n + 271_999n * 200_000n + 10_000_000n);
  expect(priceUsage(sol, { ...usage, inputTokens: 2 })).toBe(2n * 4_000_000n + 271_999n * 400_000n + 15_000_000n);
});

test("a dated snapshot has the price of its model, and one with a price of its own keeps that", () => {
  expect(price("anthropic", "claude-haiku-4-5-20251001")).toEqual(price("anthropic", "claude-haiku-4-5"));
  expect(price("openai", "gpt-5.4-2026-03-05")).toEqual(price("openai", "gpt-5.4"));
  expect(price("openai", "gpt-4o-2024-05-13").rates.inputTokens).toBe(5_000_000n);
});

test("a model that is not in the table has no price: not zero, and not that of its predecessor", () => {
  expect(findPrice("anthropic", "claude-sonnet-6", NOW)).toBeUndefined();
  expect(findPrice("anthropic", "gpt-5.4", NOW)).toBeUndefined();
  expect(findPrice("openai", "__proto__", NOW)).toBeUndefined();
});

test("no listed model reads or writes its cache for nothing", () => {
  for (const model of ["gpt-5-pro", "gpt-4o", "gpt-5.4-nano"]) {
    const { rates } = price("openai", model);
    expect(Object.values(rates).every((rate) => rate > 0n)).toBe(true);
  }
});

test("no usage of a request costs more than its worst case", () => {
  const tokens = fc.nat({ max: 400_000 });

  fc.assert(
    fc.property(
      fc.constantFrom("claude-sonnet-4-5", "claude-opus-5-5"),
      tokens,
      tokens,
      tokens,
      tokens,
      tokens,
      (model, inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens) => {
        const usage = { inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens, reasoningTokens: 0 };
        const total = inputTokens + cacheReadTokens + cacheWrite5mTokens + cacheWrite1hTokens;
        const spent = priceUsage(price("anthropic", model), usage);

        expect(spent <= worstCasePicoUsd(price("anthropic", model), { inputTokens: total, outputTokens })).toBe(true);
      },
    ),
  );
});

const sets = (rates: Record<string, string>): typeof NO_OVERRIDE => ({
  ...NO_OVERRIDE,
  rates: Object.entries(rates).flatMap(([name, usd]) => {
    const setting = readRateSetting(name);
    return setting ? [{ ...setting, usd }] : [];
  }),
});

test("an override replaces the rates it names and keeps all else that is listed: tiers, modifiers, fees and dates", () => {
  const listed = findListedModel("anthropic", "claude-sonnet-5-5");
  const prices = overridePrices("mine", listed, sets({ input_cost_per_token: "0.0000015", output_cost_per_token: "7.5e-06" }));
  const [before, after] = ["2026-10-06T23:59:59Z", "2026-10-07T00:00:00Z"].map((at) => prices?.at(new Date(at)));

  expect(after).toMatchObject({
    id: "config:mine",
    rates: { inputTokens: 1_500_000n, cacheReadTokens: 100_000n, outputTokens: 7_500_000n },
  });
  expect(before?.rates).toMatchObject({ inputTokens: 1_500_000n, cacheReadTokens: 200_000n });
  expect(after?.modifiers).toEqual(price("anthropic", "claude-sonnet-5-5").modifiers);
  expect(after?.fees).toEqual(price("anthropic", "claude-sonnet-5-5").fees);
});

test("public bug 16: one overridden rate of gpt-5.4 leaves its long-context tier", () => {
  const prices = overridePrices("mine", findListedModel("openai", "gpt-5.4"), sets({ cache_read_input_token_cost: "0.0000001" }));
  const own = prices?.at(NOW) as Price;

  expect(priceUsage(own, { inputTokens: 300_000, outputTokens: 1_000 })).toBe(1_522_500_000_000n);
});

test("an override of an unlisted model needs input and output, and its cache costs what input costs", () => {
  expect(overridePrices("own", undefined, sets({ input_cost_per_token: "0.000001" }))).toBeUndefined();
  expect(overridePrices("own", undefined, NO_OVERRIDE)).toBeUndefined();
  expect(overridePrices("own", undefined, sets({ input_cost_per_token: "0.000001", output_cost_per_token: "0" }))?.at(NOW)).toMatchObject({
    rates: {
      inputTokens: 1_000_000n,
      cacheReadTokens: 1_000_000n,
      cacheWrite5mTokens: 1_000_000n,
      cacheWrite1hTokens: 1_000_000n,
      outputTokens: 0n,
    },
    isFree: false,
  });
});

test("input and output of 0 in so many words make a model free, a listed one too; another rate that is set is kept", () => {
  const free = sets({ input_cost_per_token: "0", output_cost_per_token: "0.0" });
  const listed = findListedModel("anthropic", "claude-sonnet-5");

  expect(overridePrices("own", listed, free)?.at(NOW)).toMatchObject({
    isFree: true,
    rates: { cacheReadTokens: 0n, cacheWrite1hTokens: 0n },
  });
  expect(
    overridePrices(
      "own",
      listed,
      sets({ input_cost_per_token: "0", output_cost_per_token: "0", cache_read_input_token_cost: "0.000001" }),
    )?.at(NOW),
  ).toMatchObject({ isFree: false });
});

test("an override that is no exact rate is refused", () => {
  for (const usd of ["0.0000000000001", "-0.000001", "three"]) {
    expect(() => overridePrices("own", undefined, sets({ input_cost_per_token: usd, output_cost_per_token: "0" }))).toThrow(RangeError);
  }
});

const part = (provider: "anthropic" | "openai", model: string, usage: Partial<Usage>, modifiers: UsageModifiers): PricedReport =>
  priceReport(
    { own: price(provider, model), ofModel: () => undefined },
    { ...reportOf({ ...NO_USAGE, ...usage }), parts: [{ model: undefined, usage: { ...NO_USAGE, ...usage }, modifiers }] },
  );

describe("hostile 2, litellm 2, public bugs 4 to 7: modifiers", () => {
  test("stack, cache classes included, and round up once", () => {
    const priced = part(
      "anthropic",
      "claude-opus-5-5",
      { inputTokens: 1_000, cacheReadTokens: 10_000, outputTokens: 500 },
      { speed: "fast", geography: "us" },
    );

    expect(priced).toMatchObject({ totalPicoUsd: 35_200_000_000n, unpriced: [] });
  });

  test("without a known price are billed at the rest, and named", () => {
    expect(part("anthropic", "claude-sonnet-5", { inputTokens: 1 }, { serviceTier: "priority" })).toMatchObject({
      totalPicoUsd: 2_000_000n,
      unpriced: ["service_tier=priority"],
    });
    expect(part("openai", "gpt-5.4", { inputTokens: 272_001 }, { serviceTier: "priority" })).toMatchObject({
      totalPicoUsd: 272_001n * 5_000_000n,
      unpriced: ["service_tier=priority"],
    });
    expect(part("openai", "gpt-5.4", { audioInputTokens: 1 }, {})).toMatchObject({
      totalPicoUsd: 2_500_000n,
      unpriced: ["class=audioInputTokens"],
    });
  });

  test("of an exact ratio round up to a whole pico-USD once, for the whole request", () => {
    const own = { ...price("openai", "gpt-5.4"), multiplier: { numerator: 1n, denominator: 3_000_000n } };
    const priced = priceReport({ own, ofModel: () => undefined }, reportOf({ ...NO_USAGE, inputTokens: 1, outputTokens: 1 }));

    // 2.5 + 15 millionths of a third: 5.83 pico-USD in all, of which 0.83 are input.
    expect(priced).toMatchObject({ inputPicoUsd: 1n, outputPicoUsd: 5n, totalPicoUsd: 6n });
  });
});

test("a price is chosen by the day on which the request began, in UTC", () => {
  const days = ["2020-01-01T00:00:00Z", "2026-08-20T23:59:59.999Z", "2026-08-21T00:00:00Z"];

  expect(days.map((day) => findPrice("openai", "gpt-5.6-sol", new Date(day))?.rates.inputTokens)).toEqual([
    5_000_000n,
    5_000_000n,
    4_000_000n,
  ]);
});

test("a snapshot that the table does not tell apart is the same model; a model that is known otherwise has its own price", () => {
  const listed = findListedModel("anthropic", "claude-sonnet-5");
  const prices = requestPrices({
    provider: "anthropic",
    model: "claude-sonnet-5",
    prices: listed?.prices as PriceSchedule,
    startedAt: NOW,
  });

  expect(prices.ofModel("claude-sonnet-5-20260601")).toBe(prices.own);
  expect(prices.ofModel("claude-opus-5")?.id).toBe("anthropic/claude-opus-5");
  expect(prices.ofModel("claude-novel-1")).toBeUndefined();
});

test("public bug 18: a regional host of OpenAI costs a tenth more, and its price is found again by its id", () => {
  const listed = findListedModel("openai", "gpt-5.4");
  const prices = onHost(listed?.prices as PriceSchedule, listed?.hosts.get("eu.api.openai.com"));

  expect(priceUsage(prices.at(NOW), { inputTokens: 100_000 })).toBe(275_000_000_000n);
  expect(findPricesById(prices.id)?.at(NOW)).toEqual(prices.at(NOW));
});

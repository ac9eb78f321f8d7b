import { readFileSync } from "node:fs";
import { findListedModel, listedModels, priceUsage } from "@proliferate/metering/pricing";
import { findPrice } from "@proliferate/metering/test/find-price";
import { calcPrice } from "@pydantic/genai-prices";
import { describe, expect, test } from "vitest";
import { derivePrices, readCommittedPrices } from "./generate-prices.ts";
import { readOverlay } from "./price-overlay.ts";

const overlayText = readFileSync(new URL("../packages/metering/src/pricing/overlay.yaml", import.meta.url), "utf8");

test("the committed prices are what their sources say", () => {
  expect(derivePrices()).toBe(readCommittedPrices());
});

test.each([
  ["anthropic", "claude-sonnet-5", 150_000, "2026-11-21"],
  ["anthropic", "claude-opus-5-5", 900_000, "2026-11-21"],
  ["anthropic", "claude-haiku-4-5-20251001", 3_000, "2026-11-21"],
  ["openai", "gpt-6-sol", 272_000, "2026-11-21"],
  ["openai", "gpt-6-sol", 272_001, "2026-11-21"],
  ["openai", "gpt-5.4", 271_999, "2026-11-21"],
  ["openai", "gpt-5.4", 272_001, "2026-11-21"],
  ["openai", "gpt-5.6-luna", 1_000, "2026-11-21"],
  ["openai", "gpt-5.6-luna", 1_000, "2026-07-29"],
] as const)("our price of %s %s with %i input tokens on %s is the package's own", (provider, model, promptTokens, day) => {
  const startedAt = new Date(`${day}T12:00:00Z`);
  const written = provider === "anthropic" ? 200 : 0;
  const price = findPrice(provider, model, startedAt);
  const ours =
    price &&
    priceUsage(price, { inputTokens: promptTokens - 700 - written, cacheReadTokens: 700, cacheWrite5mTokens: written, outputTokens: 321 });

  const theirs = calcPrice({ input_tokens: promptTokens, cache_read_tokens: 700, cache_write_tokens: written, output_tokens: 321 }, model, {
    providerId: provider,
    timestamp: startedAt,
  });

  expect(Number(ours) / 1e12).toBeCloseTo(theirs?.total_price ?? Number.NaN, 9);
});

describe("public bug 14, litellm 8: exactly 272,000 tokens are below the tier", () => {
  const families = [...listedModels()].filter(([, { prices }]) =>
    prices.at(new Date()).tiers.some(({ aboveTokens }) => aboveTokens > 250_000),
  );

  test("of every family that has it", () => {
    expect(families.map(([id]) => id)).toEqual(
      expect.arrayContaining([
        "openai/gpt-5.4",
        "openai/gpt-5.5",
        "openai/gpt-5.6-sol",
        "openai/gpt-6-astra",
        "openai/gpt-6-sol",
        "openai/gpt-6.1-terra",
      ]),
    );
  });

  test.each(families)("%s", (_, { prices }) => {
    const price = prices.at(new Date());
    const cost = (inputTokens: number): bigint => priceUsage(price, { inputTokens });

    expect(cost(272_000)).toBe(272_000n * price.rates.inputTokens);
    expect(cost(272_001)).toBe(272_001n * (price.tiers[0]?.rates.inputTokens ?? 0n));
    expect(cost(272_001)).toBeGreaterThan(cost(272_000));
  });

  test("gpt-5.4 costs 0.695 and 1.382505", () => {
    const price = findListedModel("openai", "gpt-5.4")?.prices.at(new Date());

    expect([272_000, 272_001].map((inputTokens) => price && priceUsage(price, { inputTokens, outputTokens: 1_000 }))).toEqual([
      695_000_000_000n,
      1_382_505_000_000n,
    ]);
  });
});

test("public bug 15: Haiku 5.5 costs five times as much above 100,000 tokens, and not at them", () => {
  const price = findPrice("anthropic", "claude-haiku-5-5", new Date());
  const cost = (inputTokens: number): bigint | undefined => price && priceUsage(price, { inputTokens, outputTokens: 1_000 });

  expect([100_000, 100_001].map(cost)).toEqual([10_500_000_000n, 100_001n * 500_000n + 2_500_000_000n]);
});

test("no listed model reads or writes its cache, or answers, for nothing; only an embedding has no output", () => {
  for (const [id, { prices }] of listedModels()) {
    const free = Object.entries(prices.at(new Date()).rates)
      .filter(([, rate]) => rate === 0n)
      .map(([name]) => name);
    expect({ id, free }).toEqual({ id, free: id.includes("embedding") ? ["outputTokens", "audioOutputTokens"] : [] });
  }
});

const changed = (from: string, to: string): string => {
  expect(overlayText).toContain(from);
  return overlayText.replace(from, to);
};

describe("an entry of the overlay is refused", () => {
  test("without its page", () => {
    expect(() => readOverlay(changed("    page: anthropic-fast\n", ""))).toThrow(/page/);
  });

  test("with a page that is not listed", () => {
    expect(() => readOverlay(changed("page: anthropic-fast", "page: hearsay"))).toThrow(/"hearsay" is not among its pages/);
  });

  test("with a rate that is a number and no text, so that no float is made of one", () => {
    expect(() => readOverlay(changed('input: "8"', "input: 8"))).toThrow(/string/);
  });

  test("for a model that is not in the table", () => {
    expect(() => derivePrices(readOverlay(changed("models: [openai/gpt-5-mini]", "models: [openai/gpt-5-minny]")))).toThrow(
      /gpt-5-minny is not in the table/,
    );
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { NO_USAGE } from "../metering/usage.ts";
import { overridePrice } from "./price-override.ts";
import { findPrice } from "./price-table.ts";
import { priceUsage } from "./cost.ts";
import type { Price } from "./price.ts";
import { worstCasePicoUsd } from "./worst-case.ts";

const NOW = new Date("2026-11-27T12:00:00Z");

const price = (provider: "anthropic" | "openai", model: string): Price => {
  const found = findPrice(provider, model, NOW);
  if (!found) throw new Error(`${model} has no price`);
  return found;
};

test("each class of tokens is priced at its own rate, exactly", () => {
  const usage = { inputTokens: 3, cacheReadTokens: 10_001, cacheWrite5mTokens: 7, cacheWrite1hTokens: 11, outputTokens: 13, reasoningTokens: 5 };

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
  expect(findPrice("anthropic", "claude-sonnet-5-5", NOW)).toBeUndefined();
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
    fc.property(fc.constantFrom("claude-sonnet-4-5", "claude-opus-5-5"), tokens, tokens, tokens, tokens, tokens, (model, inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens) => {
      const usage = { inputTokens, cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens, reasoningTokens: 0 };
      const total = inputTokens + cacheReadTokens + cacheWrite5mTokens + cacheWrite1hTokens;
      const spent = priceUsage(price("anthropic", model), usage);

      expect(spent <= worstCasePicoUsd(price("anthropic", model), { inputTokens: total, outputTokens })).toBe(true);
    }),
  );
});

test("an override replaces the rates it names, keeps the listed others and is flat", () => {
  const listed = price("anthropic", "claude-sonnet-4-5");

  const overridden = overridePrice("mine", listed, { inputUsd: "0.0000015", outputUsd: "7.5e-06" });

  expect(overridden).toMatchObject({ id: "config:mine", rates: { inputTokens: 1_500_000n, cacheReadTokens: listed.rates.cacheReadTokens, outputTokens: 7_500_000n }, tiers: [] });
});

test("an override of an unlisted model needs input and output, and its cache costs what input costs", () => {
  expect(overridePrice("own", undefined, { inputUsd: "0.000001" })).toBeUndefined();
  expect(overridePrice("own", undefined, { inputUsd: "0.000001", outputUsd: "0" })?.rates).toMatchObject({ inputTokens: 1_000_000n, cacheReadTokens: 1_000_000n, cacheWrite5mTokens: 1_000_000n, cacheWrite1hTokens: 1_000_000n, outputTokens: 0n });
});

test("an override that is no exact rate is refused", () => {
  for (const inputUsd of ["0.0000000000001", "-0.000001", "three"]) {
    expect(() => overridePrice("own", undefined, { inputUsd, outputUsd: "0" })).toThrow(RangeError);
  }
});

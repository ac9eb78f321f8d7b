import { findPrice } from "@proliferate/services/pricing/price-table";
import { priceUsage } from "@proliferate/services/pricing/cost";
import { calcPrice } from "@pydantic/genai-prices";
import { expect, test } from "vitest";
import { derivePrices, readCommittedPrices } from "./generate-prices.ts";

test("the committed prices are what their source says for their day", () => {
  const { text, asOf } = readCommittedPrices();

  expect(derivePrices(asOf)).toBe(text);
});

test("a dated price holds from its day on", () => {
  const before = derivePrices("2026-08-20");
  const after = derivePrices("2026-08-21");

  expect(before).toMatch(/"openai\/gpt-5\.6-sol": \{"rates":\[5000000,/);
  expect(after).toMatch(/"openai\/gpt-5\.6-sol": \{"rates":\[4000000,.*"since":"2026-08-21"/);
});

test.each([
  ["anthropic", "claude-sonnet-5", 150_000],
  ["anthropic", "claude-opus-5-5", 900_000],
  ["anthropic", "claude-haiku-4-5-20251001", 3_000],
  ["openai", "gpt-6-sol", 272_000],
  ["openai", "gpt-6-sol", 272_001],
  ["openai", "gpt-5.4", 271_999],
  ["openai", "gpt-5.4", 272_000],
  ["openai", "gpt-5.6-luna", 1_000],
] as const)("our price of %s %s with %i input tokens is the source's own", (provider, model, promptTokens) => {
  const written = provider === "anthropic" ? 200 : 0;
  const usage = { inputTokens: promptTokens - 700 - written, cacheReadTokens: 700, cacheWrite5mTokens: written, cacheWrite1hTokens: 0, outputTokens: 321, reasoningTokens: 0 };
  const price = findPrice(provider, model, new Date("2026-11-21T12:00:00Z"));

  const theirs = calcPrice(
    { input_tokens: promptTokens, cache_read_tokens: 700, cache_write_tokens: written, output_tokens: 321 },
    model,
    { providerId: provider, timestamp: new Date("2026-11-21T12:00:00Z") },
  );

  expect(Number(price && priceUsage(price, usage)) / 1e12).toBeCloseTo(theirs?.total_price ?? Number.NaN, 9);
});

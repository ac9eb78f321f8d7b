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

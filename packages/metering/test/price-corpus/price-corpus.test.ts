import { describe, expect, test } from "vitest";
import type { UsageReading } from "../../src/usage/usage-reader.ts";
import { readAgain, readPriceCases, readStreamed, readWhole, rowOf } from "./price-corpus.ts";

const CASES = readPriceCases();

test("the corpus holds every finding on what an answer costs", () => {
  const findings = CASES.flatMap(({ finding }) => finding.split(", "));
  const numbers = [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 18, 19, 25, 26, 33];

  expect(findings).toEqual(
    expect.arrayContaining([
      ...numbers.map((number) => `public bug ${number}`),
      "public bug F2",
      "public bug F5",
      "litellm 2",
      "litellm 7",
      "litellm 8",
      "clients F2",
      "clients F5",
      "hostile 2",
      ...["money 1", "money 4", "money 5", "money 8"],
    ]),
  );
});

describe.each(CASES.map((given) => [`${given.finding}: ${given.name}`, given] as const))("%s", (_, given) => {
  const expected = { unknown_usage: [], free: false, ...given.row, isFinal: true };

  test("whole, it costs what the provider's page says", () => {
    expect(given.source).toMatch(/^https:\/\//);
    expect(rowOf(given, readWhole(given))).toMatchObject(expected);
  });

  test("read again from what the row keeps of it, it costs the same", () => {
    const reading = readWhole(given);

    expect(rowOf(given, readAgain(given, reading))).toEqual(rowOf(given, reading));
  });
});

const STREAMED = CASES.flatMap(({ streamed, ...given }) => (streamed ? [[given.name, { ...given, streamed }] as const] : []));

test.each(STREAMED)("%s: streamed, it costs the same, cut at any byte", (_, given) => {
  const whole = rowOf(given, readWhole(given));
  const streamed = (cuts: readonly number[]) => rowOf(given, readStreamed(given, cuts) as UsageReading);

  expect(streamed([])).toEqual(whole);
  for (let cut = 1; cut < given.streamed.length; cut += 1) expect(streamed([cut])).toEqual(whole);
  expect(streamed(Array.from(given.streamed.keys()).slice(1))).toEqual(whole);
});

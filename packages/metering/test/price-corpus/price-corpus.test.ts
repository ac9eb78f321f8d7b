import { describe, expect, test } from "vitest";
import { anthropicAnswerOf, readAnthropicReport } from "../../src/usage/anthropic-report.ts";
import { openAIAnswerOf, readOpenAIReport } from "../../src/usage/openai-report.ts";
import { readPriceCases, readStreamed, readWhole, rowOf } from "./price-corpus.ts";

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

  test("streamed, it costs the same, cut at any byte", () => {
    const whole = rowOf(given, readWhole(given));
    expect(rowOf(given, readStreamed(given, []))).toEqual(whole);
    for (let cut = 1; cut < given.streamed.length; cut += 1) expect(rowOf(given, readStreamed(given, [cut]))).toEqual(whole);
    expect(rowOf(given, readStreamed(given, Array.from(given.streamed.keys()).slice(1)))).toEqual(whole);
  });

  test("read again from what the row keeps of it, it costs the same", () => {
    const reading = readWhole(given);
    const raw = JSON.parse(JSON.stringify(reading.report.raw)) as Record<string, unknown>;
    const again = given.provider === "anthropic" ? readAnthropicReport(anthropicAnswerOf(raw)) : readOpenAIReport(openAIAnswerOf(raw));

    expect(rowOf(given, { ...reading, report: again.report })).toEqual(rowOf(given, reading));
  });
});

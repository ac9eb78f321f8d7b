import { describe, expect, test } from "vitest";
import { GeminiUsageReader, readGeminiAnswer } from "./gemini-usage.ts";
import { totals } from "./usage-report.ts";

const LONG = "x".repeat(400);
const chunk = (text: string, rest: object = {}, candidate: object = {}): string =>
  `data: ${JSON.stringify({ candidates: [{ content: { parts: [{ text }] }, ...candidate }], modelVersion: "m", responseId: "r", ...rest })}\r\n\r\n`;
const counts = (usageMetadata: object): object => ({ usageMetadata });
const END = { finishReason: "STOP" };
const USAGE = { promptTokenCount: 10, candidatesTokenCount: 20, totalTokenCount: 30 };

function read(...frames: readonly string[]) {
  const reader = new GeminiUsageReader();
  for (const frame of frames) reader.push(Buffer.from(frame));
  return { reader, ...reader.reading(), usage: totals(reader.reading().report) };
}

describe("clients F9: how a stream of Gemini ends", () => {
  test("with the finishReason of its candidate, it is whole, and nothing of it was held", () => {
    const { reader, ...reading } = read(chunk("a", counts({ promptTokenCount: 10 })), chunk("b", counts(USAGE), END));

    expect(reading).toMatchObject({
      isWhole: true,
      isFinal: true,
      usage: { inputTokens: 10, outputTokens: 20 },
      responseId: "r",
      model: "m",
    });
    expect([reader.terminal, reader.heldBytes]).toEqual([undefined, 0]);
  });

  test("without one it is unfinished, and what came is estimated", () => {
    expect(read(chunk(LONG, counts({ promptTokenCount: 10 })))).toMatchObject({
      isWhole: false,
      isFinal: false,
      isInputReported: true,
      usage: { inputTokens: 10, outputTokens: 100 },
    });
    expect(read()).toMatchObject({ isWhole: false, hasOutput: false });
  });

  test("where two candidates were asked for, both have to end", () => {
    const reader = new GeminiUsageReader({ choices: 2 });
    reader.push(Buffer.from(chunk("a", counts(USAGE), { ...END, index: 0 })));
    expect(reader.reading().isWhole).toBe(false);
    reader.push(Buffer.from(chunk("b", counts(USAGE), { index: 1 })));
    expect(reader.reading().isWhole).toBe(false);
    reader.push(Buffer.from(chunk("", counts(USAGE), { ...END, index: 1 })));
    expect(reader.reading()).toMatchObject({ isWhole: true, isFinal: true });
  });

  test("an error in the place of a chunk is held, and is its end", () => {
    const error = { error: { code: 503, message: "overloaded", status: "UNAVAILABLE" } };
    const { reader, isWhole, hasOutput } = read(chunk("a", {}, END), `data: ${JSON.stringify(error)}\r\n\r\n`);

    expect([reader.terminal, reader.error, isWhole, hasOutput]).toEqual([
      "error",
      { type: "UNAVAILABLE", message: "overloaded" },
      false,
      true,
    ]);
    expect(reader.takeRest().toString()).toContain("overloaded");
  });

  test("a prompt that is blocked has no candidate, and is whole", () => {
    const blocked = `data: ${JSON.stringify({ promptFeedback: { blockReason: "SAFETY" }, ...counts({ promptTokenCount: 10 }) })}\r\n\r\n`;

    expect(read(blocked)).toMatchObject({ isWhole: true, isFinal: true, hasOutput: true, usage: { inputTokens: 10, outputTokens: 0 } });
  });
});

describe("clients F9: what Gemini's counts are believed", () => {
  test("none that came before the last text: it is estimated, and never less than they say", () => {
    expect(read(chunk("a", counts(USAGE)), chunk(LONG, {}, END))).toMatchObject({
      isWhole: true,
      isFinal: false,
      usage: { outputTokens: 100 },
    });
  });

  test("none at all: whole, and estimated", () => {
    expect(read(chunk(LONG, {}, END))).toMatchObject({
      isWhole: true,
      isFinal: false,
      isInputReported: false,
      usage: { outputTokens: 100 },
    });
  });

  test("of counts that fall, the larger, flagged", () => {
    const { report, usage } = read(chunk("a", counts(USAGE)), chunk("b", counts({ promptTokenCount: 1 }), END));

    expect([usage.inputTokens, usage.outputTokens, report.unknown]).toEqual([10, 20, ["usage=counts that fall"]]);
  });

  test("no output at all, though text came: estimated, flagged", () => {
    const { report, isFinal, usage } = read(chunk(LONG, counts({ promptTokenCount: 10 }), END));

    expect([isFinal, usage.outputTokens, report.unknown]).toEqual([false, 100, ["output_tokens=none, though text came"]]);
  });

  const NAMES = ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount"];

  test.each(["-5", "1.5", "1e400", "1e21", '"7"', "{}", "[]", "true", "9007199254740993"])("none that cannot be true: %s", (value) => {
    for (const name of NAMES) {
      const others = JSON.stringify({ ...USAGE, [name]: undefined }).slice(1);
      const whole = readGeminiAnswer(
        Buffer.from(`{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"${name}":${value},${others}}`),
      );

      expect([name, whole.isFinal]).toEqual([name, false]);
      expect(whole.report.unknown).toContain(`${name}=out of range`);
      expect(Object.values(totals(whole.report)).filter((count) => !Number.isSafeInteger(count) || count < 0)).toEqual([]);
    }
  });

  test("details that are no list, or have no modality, change no sum, and are named", () => {
    const usage = {
      ...USAGE,
      promptTokensDetails: "AUDIO",
      cacheTokensDetails: [{ tokenCount: 3 }],
      candidatesTokensDetails: [{ modality: "AUDIO", tokenCount: -3 }],
    };
    const { report } = readGeminiAnswer(Buffer.from(JSON.stringify({ candidates: [], usageMetadata: usage })));

    expect(totals(report)).toMatchObject({ inputTokens: 10, audioInputTokens: 0, outputTokens: 20 });
    expect(report.unknown).toEqual(["cacheTokensDetails=no modality", "candidatesTokensDetails=out of range", "promptTokensDetails"]);
  });
});

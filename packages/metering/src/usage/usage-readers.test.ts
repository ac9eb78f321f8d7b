import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AnthropicUsageReader, readAnthropicAnswer } from "./anthropic-usage.ts";
import { OpenAIUsageReader, readOpenAIAnswer } from "./openai-usage.ts";
import type { StreamUsageReader } from "./usage-reader.ts";
import { totals } from "./usage-report.ts";
import { NO_USAGE, promptTokens } from "./usage.ts";

const fixture = (name: string): Buffer => readFileSync(new URL(`fixtures/${name}.sse`, import.meta.url));
const bytes = (value: unknown): Buffer => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));

interface Corpus {
  readonly name: string;
  readonly create: () => StreamUsageReader;
  readonly usage: Partial<typeof NO_USAGE>;
  readonly isFinal: boolean;
  readonly terminal: "end" | "error" | undefined;
  /** The text that the held rest begins with; what is before it passes. */
  readonly restBegins: string;
}

const anthropic = (): StreamUsageReader => new AnthropicUsageReader();
const openai = (): StreamUsageReader => new OpenAIUsageReader();

const CORPUS: readonly Corpus[] = [
  {
    name: "anthropic-cache-split",
    create: anthropic,
    isFinal: true,
    terminal: "end",
    restBegins: "event: message_stop",
    usage: { inputTokens: 12, cacheReadTokens: 4000, cacheWrite5mTokens: 200, cacheWrite1hTokens: 300, outputTokens: 25 },
  },
  {
    name: "anthropic-cache-unsplit",
    create: anthropic,
    isFinal: true,
    terminal: "end",
    restBegins: "event: message_stop",
    usage: { inputTokens: 7, cacheWrite5mTokens: 900, outputTokens: 18 },
  },
  {
    name: "anthropic-cumulative-delta",
    create: anthropic,
    isFinal: true,
    terminal: "end",
    restBegins: "event: message_stop",
    usage: { inputTokens: 9100, cacheReadTokens: 50, outputTokens: 220, reasoningTokens: 64 },
  },
  {
    name: "anthropic-carriage-returns",
    create: anthropic,
    isFinal: true,
    terminal: "end",
    restBegins: "event: message_stop",
    usage: { inputTokens: 12, cacheReadTokens: 4000, cacheWrite5mTokens: 200, cacheWrite1hTokens: 300, outputTokens: 25 },
  },
  {
    name: "anthropic-aborted",
    create: anthropic,
    isFinal: false,
    terminal: undefined,
    restBegins: "event: content_block_delta",
    usage: { inputTokens: 12, cacheReadTokens: 4000, cacheWrite5mTokens: 200, cacheWrite1hTokens: 300, outputTokens: 27 },
  },
  {
    name: "anthropic-error-event",
    create: anthropic,
    isFinal: false,
    terminal: "error",
    restBegins: "event: error",
    usage: { inputTokens: 12, cacheReadTokens: 4000, cacheWrite5mTokens: 200, cacheWrite1hTokens: 300, outputTokens: 1 },
  },
  {
    name: "openai-usage-chunk",
    create: openai,
    isFinal: true,
    terminal: "end",
    restBegins: "data: [DONE]",
    usage: { inputTokens: 86, cacheReadTokens: 1920, outputTokens: 300, reasoningTokens: 192 },
  },
  {
    name: "openai-cache-write",
    create: openai,
    isFinal: true,
    terminal: "end",
    restBegins: "data: [DONE]",
    usage: { inputTokens: 500, cacheReadTokens: 1000, cacheWrite5mTokens: 3500, outputTokens: 20 },
  },
  { name: "openai-without-usage", create: openai, isFinal: false, terminal: "end", restBegins: "data: [DONE]", usage: { outputTokens: 7 } },
  { name: "openai-aborted", create: openai, isFinal: false, terminal: undefined, restBegins: "data: {", usage: { outputTokens: 20 } },
  { name: "openai-error-event", create: openai, isFinal: false, terminal: "error", restBegins: 'data: {"error"', usage: {} },
];

function cut(whole: Buffer, at: readonly number[]): readonly Buffer[] {
  const edges = [0, ...at.toSorted((a, b) => a - b), whole.length];
  return edges.slice(1).map((end, index) => whole.subarray(edges[index], end));
}

describe.each(CORPUS)("$name", ({ name, create, usage, isFinal, terminal, restBegins }) => {
  const whole = fixture(name);

  test("is read to the tokens that the provider reports, in classes that do not overlap", () => {
    const reader = create();
    reader.push(whole);

    expect(reader.reading()).toMatchObject({ isFinal });
    expect(totals(reader.reading().report)).toEqual({ ...NO_USAGE, ...usage });
    expect(reader.reading().responseId).toBe(name.startsWith("anthropic") ? "msg_01AbCdEfGhJkMnPqRsTuVwXy" : "chatcmpl-AbC123");
    expect(reader.terminal).toBe(terminal);
  });

  test("passes everything before its last event and holds the rest, however the bytes are cut", () => {
    const end = whole.lastIndexOf(restBegins);
    const cuts = fc.array(fc.integer({ min: 0, max: whole.length }), { maxLength: 40 });

    fc.assert(
      fc.property(cuts, (at) => {
        const reader = create();
        const passed = Buffer.concat(cut(whole, at).flatMap((chunk) => reader.push(chunk)));

        expect(passed.equals(whole.subarray(0, end))).toBe(true);
        expect(reader.reading()).toMatchObject({ isFinal });
        expect(totals(reader.reading().report)).toEqual({ ...NO_USAGE, ...usage });
        expect(Buffer.compare(reader.takeRest(), whole.subarray(end))).toBe(0);
      }),
      { numRuns: 150 },
    );
  });
});

test("every single byte can come alone", () => {
  for (const { name, create, usage } of CORPUS) {
    const reader = create();
    for (const byte of fixture(name)) reader.push(Uint8Array.of(byte));

    expect(totals(reader.reading().report)).toEqual({ ...NO_USAGE, ...usage });
  }
});

test("a usage chunk that the client did not ask for is dropped, whatever the cut, and nothing else is", () => {
  const whole = fixture("openai-usage-chunk");
  const text = whole.toString();
  const usageChunk = /data: \{[^\n]*"choices":\[\],[^\n]*\n\n/.exec(text)?.[0] ?? "";
  const expected = text.replace(usageChunk, "").replace("data: [DONE]\n\n", "");

  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: whole.length }), { maxLength: 20 }), (at) => {
      const reader = new OpenAIUsageReader({ dropUsageChunk: true });
      const passed = Buffer.concat(cut(whole, at).flatMap((chunk) => reader.push(chunk)));

      expect(usageChunk).not.toBe("");
      expect(passed.toString()).toBe(expected);
      expect(totals(reader.reading().report).inputTokens).toBe(86);
    }),
  );
});

test("bytes pass as views of the chunk they came in, and the chunk may be reused afterwards", () => {
  const whole = fixture("anthropic-cache-split");
  const reader = new AnthropicUsageReader();
  const head = whole.subarray(0, 500);
  const network = Buffer.from(head);

  const passed = reader.push(network);
  const copies = passed.map((view) => Buffer.from(view));
  const sharesMemory = passed.every((view) => view.buffer === network.buffer);
  network.fill(0);
  const after = Buffer.concat([...copies, ...reader.push(whole.subarray(500))]);

  expect(sharesMemory).toBe(true);
  expect(whole.subarray(0, after.length).equals(after)).toBe(true);
});

test("what follows the last event is held with it, and passes once the rest is taken", () => {
  const reader = new OpenAIUsageReader();
  reader.push(fixture("openai-without-usage"));

  expect(reader.push(bytes(": late\n\n"))).toEqual([]);
  expect(Buffer.from(reader.takeRest()).toString()).toBe("data: [DONE]\n\n: late\n\n");
  expect(Buffer.concat(reader.push(bytes(": later\n\n"))).toString()).toBe(": later\n\n");
});

test("an error event is read", () => {
  const reader = new AnthropicUsageReader();
  reader.push(fixture("anthropic-error-event"));

  expect(reader.error).toEqual({ type: "overloaded_error", message: "Overloaded" });
});

test("a frame without an end passes unread from four megabytes on, and reading goes on after it", () => {
  const reader = new AnthropicUsageReader();
  const passed: Uint8Array[] = [];
  const piece = Buffer.alloc(1024 * 1024, "x");

  for (let megabytes = 0; megabytes < 6; megabytes += 1) passed.push(...reader.push(piece));
  passed.push(...reader.push(bytes("\n\n")), ...reader.push(fixture("anthropic-cache-split")));

  expect(Buffer.concat(passed).length).toBe(6 * piece.length + 2 + fixture("anthropic-cache-split").lastIndexOf("event: message_stop"));
  expect(totals(reader.reading().report).outputTokens).toBe(25);
});

test("broken JSON in a stream passes and is not counted", () => {
  const reader = new AnthropicUsageReader();

  const broken = 'event: message_start\ndata: {"type": "bro\n\nevent: message_delta\ndata: 7\n\n';

  const passed = reader.push(bytes(broken));

  expect(Buffer.concat(passed).toString()).toBe(broken);
  expect(reader.reading()).toMatchObject({ report: { parts: [{ usage: NO_USAGE }] }, isInputReported: false, isFinal: false });
});

test("whole answers are read like streams", () => {
  const message = {
    id: "msg_1",
    model: "claude-sonnet-5",
    usage: { input_tokens: 3, cache_read_input_tokens: 4, cache_creation_input_tokens: 5, output_tokens: 6 },
  };
  const completion = { id: "chatcmpl-1", usage: { prompt_tokens: 10, completion_tokens: 6, prompt_tokens_details: { cached_tokens: 4 } } };

  expect(readAnthropicAnswer(bytes(message))).toMatchObject({
    report: {
      parts: [
        { usage: { ...NO_USAGE, inputTokens: 3, cacheReadTokens: 4, cacheWrite5mTokens: 5, outputTokens: 6 }, model: "claude-sonnet-5" },
      ],
      unknown: [],
    },
    isInputReported: true,
    isFinal: true,
    hasOutput: false,
    isWhole: true,
    responseId: "msg_1",
    model: "claude-sonnet-5",
  });
  expect(totals(readOpenAIAnswer(bytes(completion)).report)).toEqual({ ...NO_USAGE, inputTokens: 6, cacheReadTokens: 4, outputTokens: 6 });
  expect(promptTokens(totals(readOpenAIAnswer(bytes(completion)).report))).toBe(10);
});

test("answers without usage, or no JSON at all, are not final", () => {
  for (const body of [{ id: "x" }, "<html>", "[]", { usage: { input_tokens: -1, output_tokens: 1.5 } }, { usage: null }]) {
    expect(readAnthropicAnswer(bytes(body))).toMatchObject({ report: { parts: [{ usage: NO_USAGE }] }, isFinal: false });
    expect(readOpenAIAnswer(bytes(body))).toMatchObject({ report: { parts: [{ usage: NO_USAGE }] }, isFinal: false });
  }
});

test("money: parts larger than their whole were counted beside it; they make no class negative, and are flagged", () => {
  const { report } = readOpenAIAnswer(
    bytes({
      usage: {
        prompt_tokens: 10,
        completion_tokens: 1,
        prompt_tokens_details: { cached_tokens: 50, cache_write_tokens: 9 },
        completion_tokens_details: { reasoning_tokens: 9 },
      },
    }),
  );

  expect(totals(report)).toEqual({
    ...NO_USAGE,
    inputTokens: 10,
    cacheReadTokens: 50,
    cacheWrite5mTokens: 9,
    outputTokens: 10,
    reasoningTokens: 9,
  });
  expect(report.unknown).toEqual(["completion_tokens=less than its parts", "prompt_tokens=less than its parts"]);
});

import { describe, expect, test } from "vitest";
import { AnthropicUsageReader, readAnthropicAnswer } from "./anthropic-usage.ts";
import { OpenAIUsageReader, readOpenAIAnswer } from "./openai-usage.ts";
import { totals } from "./usage-report.ts";

const chunk = (value: unknown): Buffer => Buffer.from(`data: ${JSON.stringify(value)}\n\n`);
const event = (type: string, fields: object): Buffer => Buffer.from(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
const usage = (completionTokens: number): object => ({ prompt_tokens: 1_000, completion_tokens: completionTokens });
const choice = (delta: object, finish: string | null = null, index = 0): object => ({ index, delta, finish_reason: finish });

function openai(...chunks: readonly Buffer[]): OpenAIUsageReader {
  const reader = new OpenAIUsageReader();
  for (const bytes of chunks) reader.push(bytes);
  return reader;
}

describe("public bug 22: a stream of OpenAI", () => {
  test("that shows usage on the way and stops is not whole: what it shows is a floor", () => {
    const { report, ...reading } = openai(
      chunk({ id: "c", choices: [choice({ role: "assistant", content: "a" })], usage: usage(3) }),
      chunk({ id: "c", choices: [choice({ content: "b" })], usage: usage(5) }),
    ).reading();

    expect(reading).toMatchObject({ isFinal: false, isWhole: false, isInputReported: true, hasOutput: true });
    expect(totals(report)).toMatchObject({ inputTokens: 1_000, outputTokens: 5 });
  });

  test("without [DONE] is whole when every choice has finished and usage came", () => {
    const begun = chunk({
      id: "c",
      choices: [choice({ role: "assistant", content: "a" }), choice({ role: "assistant", content: "b" }, null, 1)],
    });
    const one = chunk({ id: "c", choices: [choice({}, "stop")] });
    const other = chunk({ id: "c", choices: [choice({}, "length", 1)] });
    const counted = chunk({ id: "c", choices: [], usage: usage(7) });

    expect(openai(begun, one, counted).reading()).toMatchObject({ isFinal: false, isWhole: false });
    expect(openai(begun, one, other).reading()).toMatchObject({ isFinal: false, isWhole: false });
    expect(openai(begun, one, other, counted).reading()).toMatchObject({ isFinal: true, isWhole: true });
  });
});

describe("money 6: an answer that broke off after tools of the provider", () => {
  const start = event("message_start", {
    message: {
      id: "m",
      usage: { input_tokens: 1_000, cache_read_input_tokens: 4_000, cache_creation_input_tokens: 500, output_tokens: 1 },
    },
  });
  const block = (content: object): Buffer => event("content_block_start", { index: 0, content_block: content });
  const use = block({ type: "server_tool_use", id: "t", name: "web_search", input: {} });
  const result = block({
    type: "web_search_tool_result",
    tool_use_id: "t",
    content: [{ type: "web_search_result", text: "x".repeat(4_000) }],
  });
  const text = block({ type: "text", text: "" });
  const passes = (...events: readonly Buffer[]) => {
    const reader = new AnthropicUsageReader();
    for (const bytes of [start, ...events]) reader.push(bytes);
    return reader.reading().laterPasses?.map(({ usage: read }) => read) ?? [];
  };

  test("has read its input once more for each that brought results in, with the results", () => {
    const [first, second, ...others] = passes(use, result, text, use, result);

    expect(others).toEqual([]);
    expect(first).toMatchObject({ cacheReadTokens: 4_500, outputTokens: 0 });
    expect(first?.inputTokens).toBeGreaterThanOrEqual(2_000);
    expect(second?.inputTokens).toBeGreaterThanOrEqual((first?.inputTokens ?? 0) + 1_000);
  });

  test("has read it once more for tools that ran together, and not for tools of the caller or before any result", () => {
    expect(passes(use, use, result, result, text)).toHaveLength(1);
    expect(passes(use, text, block({ type: "tool_use", id: "t", name: "web_search_tool_result", input: {} }))).toEqual([]);
    expect(passes(use, result, event("message_delta", { usage: { input_tokens: 9_000, output_tokens: 5 } }))).toEqual([]);
  });
});

const said = (index: number, length: number): Buffer => chunk({ id: "c", choices: [choice({ content: "x".repeat(length) }, null, index)] });
const output = (choices: number, ...chunks: readonly Buffer[]): number => {
  const reader = new OpenAIUsageReader({ choices });
  for (const bytes of chunks) reader.push(bytes);
  return totals(reader.reading().report).outputTokens;
};

describe("money 7: an answer of several choices that broke off before one of them began", () => {
  test("has of it what the longest of the others has", () => {
    expect(output(1, said(0, 4_000))).toBe(1_000);
    expect(output(2, said(0, 4_000))).toBe(2_000);
    expect(output(4, said(0, 4_000), said(1, 400))).toBe(3_100);
    expect(output(2, said(0, 4_000), said(1, 400))).toBe(1_100);
    expect(output(2)).toBe(0);
  });

  test("is not whole, though the others finished and usage was counted on the way", () => {
    const finished = (choices: number, ...more: readonly Buffer[]) => {
      const reader = new OpenAIUsageReader({ choices });
      for (const bytes of [chunk({ id: "c", choices: [choice({ content: "x" }, "stop")], usage: usage(1) }), ...more]) reader.push(bytes);
      return reader.reading().isWhole;
    };

    expect([finished(1), finished(2), finished(2, chunk({ id: "c", choices: [], usage: usage(2) }))]).toEqual([true, false, true]);
  });

  test("and has nothing of it where the answer came to its end: then it was not made", () => {
    expect(output(2, said(0, 4_000), Buffer.from("data: [DONE]\n\n"))).toBe(1_000);
  });
});

test("public bug 59: thinking that is not shown counts by the provider's own estimates of it", () => {
  const reader = new AnthropicUsageReader();
  reader.push(event("message_start", { message: { id: "m", usage: { input_tokens: 10, output_tokens: 1 } } }));
  for (const estimate of [128, null, 256])
    reader.push(event("content_block_delta", { index: 0, delta: { type: "thinking_delta", thinking: "", estimated_tokens: estimate } }));
  reader.push(event("content_block_delta", { index: 0, delta: { type: "signature_delta", signature: "x".repeat(4_096) } }));

  expect(totals(reader.reading().report).outputTokens).toBe(128 + 256);
  expect(reader.reading().countsThinking).toBe(true);
});

test("clients F11: an error before anything was produced is told from one after it", () => {
  const start = event("message_start", { message: { id: "m", usage: { input_tokens: 10, output_tokens: 1 } } });
  const error = event("error", { error: { type: "overloaded_error", message: "Overloaded" } });
  const early = new AnthropicUsageReader();
  early.push(Buffer.concat([start, error]));
  const late = new AnthropicUsageReader();
  late.push(Buffer.concat([start, event("content_block_delta", { index: 0, delta: { type: "text_delta", text: "x" } }), error]));

  const searched = new AnthropicUsageReader();
  searched.push(
    Buffer.concat([
      start,
      event("content_block_start", { index: 0, content_block: { type: "server_tool_use", name: "web_search" } }),
      error,
    ]),
  );

  expect([early, late, searched].map((reader) => reader.reading().hasOutput)).toEqual([false, true, true]);
});

test("public bug 30: a count beyond belief is not reported at all", () => {
  expect(readAnthropicAnswer(Buffer.from('{"usage":{"input_tokens":1000000000000000,"output_tokens":5}}'))).toMatchObject({
    isFinal: false,
    isInputReported: false,
  });
  expect(readOpenAIAnswer(Buffer.from('{"usage":{"prompt_tokens":2147483648,"completion_tokens":5}}'))).toMatchObject({
    isFinal: false,
    isInputReported: false,
  });
});

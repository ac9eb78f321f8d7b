import { expect, test } from "vitest";
import { AnthropicUsageReader, readAnthropicAnswer } from "./anthropic-usage.ts";
import { OpenAIUsageReader, readOpenAIAnswer } from "./openai-usage.ts";
import { NO_REPORT, totals } from "./usage-report.ts";

/** Usage that contradicts itself, comes in an odd order, or is what a compatible server adds of its own. */

const openai = (usage: object, beside: object = {}) =>
  readOpenAIAnswer(Buffer.from(JSON.stringify({ id: "c", model: "m", choices: [], usage, ...beside }))).report;
const chunk = (delta: object): Buffer =>
  Buffer.from(`data: ${JSON.stringify({ id: "c", choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`);
const event = (type: string, fields: object): Buffer => Buffer.from(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);

function anthropic(...events: readonly Buffer[]): AnthropicUsageReader {
  const reader = new AnthropicUsageReader();
  for (const bytes of events) reader.push(bytes);
  return reader;
}

const START = event("message_start", { message: { id: "m", usage: { input_tokens: 10, output_tokens: 1 } } });
const TEXT = event("content_block_delta", { index: 0, delta: { type: "text_delta", text: "x".repeat(4_000) } });
const COUNTED = event("message_delta", { delta: { stop_reason: null }, usage: { input_tokens: 10, output_tokens: 5 } });

test("breaker 1: reasoning that a compatible server counts in its total alone is output", () => {
  const xai = openai({ prompt_tokens: 32, completion_tokens: 9, total_tokens: 361, completion_tokens_details: { reasoning_tokens: 320 } });
  const gemini = openai({ prompt_tokens: 32, completion_tokens: 9, total_tokens: 361 });

  expect(totals(xai)).toMatchObject({ inputTokens: 32, outputTokens: 329, reasoningTokens: 320 });
  expect(xai.unknown).toEqual([]);
  expect(totals(gemini)).toMatchObject({ inputTokens: 32, outputTokens: 329 });
  expect(gemini.unknown).toEqual(["total_tokens=more than its parts"]);
});

test("breaker 2: what compatible servers put into every answer is no unknown usage", () => {
  const counts = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 };
  const groq = openai(
    { ...counts, queue_time: 0.02, prompt_time: 0.01, completion_time: 0.1, total_time: 0.11 },
    { service_tier: "on_demand" },
  );
  const openrouter = openai({ ...counts, cost: 0.00014, is_byok: false, cost_details: { upstream_inference_cost: 0.1 } });
  const deepseek = openai({ ...counts, prompt_cache_hit_tokens: 64, prompt_cache_miss_tokens: 36 });
  const moonshot = openai({ ...counts, cached_tokens: 64 });

  expect([groq, openrouter, deepseek, moonshot].map(({ unknown }) => unknown)).toEqual([[], [], [], []]);
  expect(groq.parts[0]?.modifiers).toEqual({ serviceTier: undefined });
  expect([deepseek, moonshot].map((report) => totals(report))).toMatchObject([
    { inputTokens: 36, cacheReadTokens: 64 },
    { inputTokens: 36, cacheReadTokens: 64 },
  ]);
});

test("breaker 3: cache writes that are split by lifetime are never fewer than the split says", () => {
  const usage = {
    input_tokens: 1,
    output_tokens: 1,
    cache_creation_input_tokens: 0,
    cache_creation: { ephemeral_5m_input_tokens: 7, ephemeral_1h_input_tokens: 100_000 },
  };

  expect(totals(readAnthropicAnswer(Buffer.from(JSON.stringify({ content: [], usage }))).report)).toMatchObject({
    cacheWrite5mTokens: 7,
    cacheWrite1hTokens: 100_000,
  });
});

const writes = (total: number, short: number, long: number) => {
  const usage = {
    input_tokens: 1,
    output_tokens: 1,
    cache_creation_input_tokens: total,
    cache_creation: { ephemeral_5m_input_tokens: short, ephemeral_1h_input_tokens: long },
  };
  const { report } = readAnthropicAnswer(Buffer.from(JSON.stringify({ content: [], usage })));
  const { cacheWrite5mTokens, cacheWrite1hTokens } = totals(report);
  return [cacheWrite5mTokens, cacheWrite1hTokens, ...report.unknown];
};

test("money 5: what a split of cache writes leaves out lives as long as what it names; the longer, and flagged, where it names both", () => {
  expect(writes(3_000, 0, 1_000)).toEqual([0, 3_000]);
  expect(writes(3_000, 1_000, 0)).toEqual([3_000, 0]);
  expect(writes(3_000, 0, 0)).toEqual([3_000, 0]);
  expect(writes(3_000, 500, 1_000)).toEqual([500, 2_500, "cache_creation=less than the whole"]);
});

test.each([
  ["no event lines", (type: string, data: object) => `data: ${JSON.stringify({ type, ...data })}\n\n`],
  ["the type last", (type: string, data: object) => `data: ${JSON.stringify({ ...data, type })}\n\n`],
  ["spaces", (type: string, data: object) => `data:  { "type" : "${type}", ${JSON.stringify(data).slice(1)}\r\n\r\n`],
  ["event: message", (type: string, data: object) => `event: message\ndata: ${JSON.stringify({ type, ...data })}\n\n`],
])("money 8: a stream with %s is read like any other", (_, frame) => {
  const reader = new AnthropicUsageReader();
  const push = (type: string, data: object): void => void reader.push(Buffer.from(frame(type, data)));
  push("message_start", { message: { id: "m", model: "a", usage: { input_tokens: 1_000, output_tokens: 1 } } });
  push("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
  push("content_block_delta", { index: 0, delta: { type: "text_delta", text: "x".repeat(400) } });
  expect(totals(reader.reading().report)).toMatchObject({ inputTokens: 1_000, outputTokens: 100 });
  push("message_delta", { delta: { stop_reason: "end_turn" }, usage: { input_tokens: 1_000, output_tokens: 500 } });
  push("message_stop", { stop: true });

  expect(totals(reader.reading().report)).toMatchObject({ inputTokens: 1_000, outputTokens: 500 });
  expect(reader.reading()).toMatchObject({ isFinal: true, isWhole: true });
  expect(reader.terminal).toBe("end");
});

test("money: counts that fall are not believed: the larger are billed, and flagged", () => {
  const zeros = event("message_delta", { usage: { input_tokens: 0, output_tokens: 50 } });
  const fewer = event("message_delta", { usage: { output_tokens: 3 } });
  const moved = event("message_delta", { usage: { input_tokens: 1, cache_read_input_tokens: 9, output_tokens: 50 } });
  const reports = [[zeros], [zeros, fewer], [moved]].map((events) => anthropic(START, ...events).reading().report);

  expect(reports.map((report) => [totals(report).inputTokens, totals(report).outputTokens, ...report.unknown])).toEqual([
    [10, 50, "usage=counts that fall"],
    [10, 50, "usage=counts that fall"],
    [1, 50],
  ]);

  const reader = new OpenAIUsageReader();
  for (const usage of [
    { prompt_tokens: 1_000, completion_tokens: 50 },
    { prompt_tokens: 0, completion_tokens: 0 },
  ])
    reader.push(Buffer.from(`data: ${JSON.stringify({ id: "c", choices: [], usage })}\n\n`));
  expect(totals(reader.reading().report)).toMatchObject({ inputTokens: 1_000, outputTokens: 50 });
  expect(reader.reading().report.unknown).toEqual(["usage=counts that fall"]);
});

test("money: no count of the output is 0 where text came, and none of the input is 0 on the way: both are estimated", () => {
  const none = { input_tokens: 10, output_tokens: 0 };
  const said = "x".repeat(400);
  const start = event("message_start", { message: { id: "m", usage: { input_tokens: 0, output_tokens: 0 } } });
  const unknown = ["output_tokens=none, though text came"];
  const readings = [
    anthropic(START, TEXT, event("message_delta", { usage: none })).reading(),
    readAnthropicAnswer(Buffer.from(JSON.stringify({ content: [{ type: "text", text: said }], usage: none }))),
    readOpenAIAnswer(
      Buffer.from(JSON.stringify({ choices: [{ message: { content: said } }], usage: { prompt_tokens: 10, completion_tokens: 0 } })),
    ),
  ];

  for (const reading of readings) expect(reading).toMatchObject({ isFinal: false, isInputReported: true, report: { unknown } });
  expect(totals(readings[0]?.report ?? NO_REPORT).outputTokens).toBe(1_000);
  expect(anthropic(start, TEXT).reading().isInputReported).toBe(false);
});

test("money: the end of an OpenAI stream is seen behind an event line, too", () => {
  const reader = new OpenAIUsageReader();
  reader.push(Buffer.from(`event: message\ndata: ${JSON.stringify({ id: "c", choices: [] })}\n\nevent: done\ndata: [DONE]\n\n`));

  expect(reader.terminal).toBe("end");
});

test("breaker 4: counts that more content follows are not the answer's", () => {
  expect(anthropic(START, COUNTED).reading()).toMatchObject({ isFinal: true });

  const cut = anthropic(START, COUNTED, TEXT).reading();

  expect(cut.isFinal).toBe(false);
  expect(totals(cut.report).outputTokens).toBe(1_000);
});

test("breaker 5: searches that were seen before an answer broke off are in its bill; a tool of the caller that has the name is none", () => {
  const block = (type: string): Buffer =>
    event("content_block_start", { index: 1, content_block: { type, id: "t", name: "web_search", input: {} } });

  expect(anthropic(START, block("server_tool_use"), TEXT, block("server_tool_use"), block("tool_use")).reading().report.uses).toEqual({
    webSearch: 2,
  });
  const whole = anthropic(
    START,
    block("server_tool_use"),
    event("message_delta", { usage: { input_tokens: 10, output_tokens: 5, server_tool_use: { web_search_requests: 1 } } }),
  );
  expect(whole.reading().report.uses).toEqual({ webSearch: 1 });
});

test("breaker 6: output beside an empty content is seen, however the server calls it", () => {
  for (const name of ["reasoning_content", "reasoning", "refusal"]) {
    const reader = new OpenAIUsageReader();
    reader.push(chunk({ role: "assistant", content: "", [name]: "x".repeat(400) }));

    expect(reader.reading()).toMatchObject({ hasOutput: true });
    expect(totals(reader.reading().report).outputTokens).toBe(100);
  }
});

const outputOf = (...events: readonly Buffer[]) => totals(anthropic(START, ...events).reading().report).outputTokens;

test("review 4: a text that does not end in its frame counts as far as it came, and takes nothing from what came before", () => {
  const unended = Buffer.from(`event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"${"y".repeat(400)}\n\n`);

  expect(outputOf(TEXT)).toBe(1_000);
  expect(outputOf(TEXT, unended)).toBe(1_100);
});

test("review 5: of a list of passes without end the first thousand are parts, the rest is what the whole has beyond them", () => {
  const iterations = Array.from({ length: 100_000 }, () => ({ type: "message", input_tokens: 1, output_tokens: 1 }));
  const { report } = readAnthropicAnswer(
    Buffer.from(JSON.stringify({ model: "m", content: [], usage: { input_tokens: 100_000, output_tokens: 100_000, iterations } })),
  );

  expect(report.parts).toHaveLength(1_001);
  expect(totals(report)).toMatchObject({ inputTokens: 100_000, outputTokens: 100_000 });
  expect(report.unknown).toEqual(expect.arrayContaining(["iterations=less than the whole", "iterations=more than 1000"]));
});

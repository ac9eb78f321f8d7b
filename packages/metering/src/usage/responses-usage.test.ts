import { describe, expect, test } from "vitest";
import { readResponsesAnswer, ResponsesUsageReader } from "./responses-usage.ts";
import { totals } from "./usage-report.ts";

type Event = Readonly<Record<string, unknown>>;

const frame = (event: Event | string): string => `data: ${typeof event === "string" ? event : JSON.stringify(event)}\n\n`;
const counts = (input_tokens: number, output_tokens: number): Event => ({
  input_tokens,
  output_tokens,
  total_tokens: input_tokens + output_tokens,
});
const TEXT = "x".repeat(400);
const BEGUN = { type: "response.created", response: { id: "resp_1", model: "gpt-5", status: "in_progress", usage: null } };
const message = { id: "m", type: "message", content: [{ type: "output_text", text: TEXT }] };

/** Reads events; `sent` is what its client has before the answer is settled. */
function read(...events: readonly (Event | string)[]) {
  const reader = new ResponsesUsageReader();
  const sent = Buffer.concat(events.flatMap((event) => reader.push(Buffer.from(frame(event))))).toString();
  return { reader, reading: reader.reading(), sent };
}

describe("an answer that has not come to its end", () => {
  test.each([
    ["pieces of text", [{ type: "response.output_text.delta", delta: TEXT }]],
    ["pieces of what a tool is called with", [{ type: "response.function_call_arguments.delta", delta: TEXT }]],
    ["pieces with the type written last", [{ delta: TEXT, type: "response.output_text.delta" }]],
    ["items alone", [{ type: "response.output_item.done", item: message }]],
    [
      "pieces and the item that they make",
      [
        { type: "response.output_text.delta", delta: TEXT },
        { type: "response.output_item.done", item: message },
      ],
    ],
  ])("is estimated by its %s", (_, events) => {
    const { reading, reader } = read(BEGUN, ...events);

    expect([reader.terminal, reading.isFinal, reading.isWhole, reading.hasOutput]).toEqual([undefined, false, false, true]);
    expect(totals(reading.report).outputTokens).toBe(100);
    expect(reading).toMatchObject({ responseId: "resp_1", model: "gpt-5" });
  });

  test("is not final by counts that a state on the way has, nor by [DONE] alone", () => {
    const onTheWay = { type: "response.in_progress", response: { id: "resp_1", usage: counts(10, 1) } };
    const { reading, reader } = read(BEGUN, onTheWay, { type: "response.output_text.delta", delta: TEXT }, "[DONE]");

    expect([reader.terminal, reading.isFinal, reading.isInputReported]).toEqual([undefined, false, true]);
    expect(totals(reading.report)).toMatchObject({ inputTokens: 10, outputTokens: 100 });
  });
});

test("the event that ends it is held, with all that follows, until it is taken", () => {
  const end = { type: "response.completed", response: { id: "resp_1", model: "gpt-5", output: [message], usage: counts(10, 100) } };
  const { reader, reading, sent } = read(BEGUN, end, "[DONE]");

  expect([reader.terminal, reading.isFinal, sent]).toEqual(["end", true, frame(BEGUN)]);
  expect(Buffer.from(reader.takeRest()).toString()).toBe(frame(end) + frame("[DONE]"));
});

test.each([
  [{ type: "error", code: "server_error", message: "no" }, "server_error"],
  [{ type: "error", error: { type: "api_error", code: "provider_timeout", message: "no" } }, "provider_timeout"],
  [{ error: { type: "overloaded", message: "no" } }, "overloaded"],
  [{ type: "response.failed", response: { error: { code: "rate_limit_exceeded", message: "no" }, usage: null } }, "rate_limit_exceeded"],
])("an error in whatever form ends it: %j", (event, type) => {
  const { reader, reading } = read(BEGUN, event);

  expect([reader.terminal, reader.error]).toEqual(["error", { type, message: "no" }]);
  expect([reading.isWhole, reading.isFinal, reading.hasOutput]).toEqual([false, false, false]);
});

test("a count of no output beside text is not believed, streamed or whole", () => {
  const response = { id: "resp_1", model: "gpt-5", output: [message], usage: counts(10, 0) };
  const { reading } = read(BEGUN, { type: "response.output_text.delta", delta: TEXT }, { type: "response.completed", response });
  const whole = readResponsesAnswer(Buffer.from(JSON.stringify(response)));

  for (const { isFinal, report } of [reading, whole])
    expect([isFinal, report.unknown]).toEqual([false, ["output_tokens=none, though text came"]]);
  expect(totals(reading.report).outputTokens).toBe(100);
});

test.each(["", "<html>", "[]", "{}", '{"output":5,"usage":[]}', '{"output":[null,5,{"type":7}]}'])(
  "a body that is no answer has no counts: %s",
  (body) => {
    expect(readResponsesAnswer(Buffer.from(body))).toMatchObject({ isFinal: false, isInputReported: false });
  },
);

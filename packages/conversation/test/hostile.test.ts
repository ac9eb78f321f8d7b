import { isAppError } from "@proliferate/shared/errors";
import { describe, expect, test } from "vitest";
import { findCodec } from "../src/codecs.ts";
import { FrameData } from "../src/sse.ts";
import { AnswerTranslation, translateRequest } from "../src/translate.ts";

/** What comes from outside and is no request: told by its place, in few words, and never with a fault of our own. */

const TARGET = { model: "some-model", maxOutputTokens: undefined };
const user = (content: unknown): object => ({ model: "m", max_tokens: 5, messages: [{ role: "user", content }] });
const tooled = (tool: unknown): object => ({ ...user("hello"), tools: [tool] });

function refusal(body: unknown, from: string, to: string): string {
  try {
    translateRequest(JSON.stringify(body), findCodec(from), findCodec(to), TARGET);
    return "passes";
  } catch (error) {
    if (!isAppError(error)) throw error;
    return `${error.code} ${error.param ?? ""}`;
  }
}

describe("Anthropic Messages", () => {
  test.each<[string, unknown, string]>([
    ["an unknown block", user([{ type: "hologram" }]), "not_translatable messages[0].content[0]"],
    ["a block without a type", user([{}]), "not_translatable messages[0].content[0]"],
    ["a block that is none", user([null, 5]), "not_translatable messages[0].content[0]"],
    ["content that is none", user(7), "invalid_request messages[0].content"],
    ["messages that are none", { model: "m", messages: "hello" }, "invalid_request messages"],
    ["no messages", { model: "m" }, "invalid_request messages"],
    ["an unknown role", { model: "m", messages: [{ role: "oracle", content: "" }] }, "invalid_request messages[0].role"],
    [
      "a role by way of the prototype",
      { model: "m", messages: [{ role: "constructor", content: "" }] },
      "invalid_request messages[0].role",
    ],
    [
      "a file of the provider's",
      user([{ type: "image", source: { type: "file", file_id: "file_1" } }]),
      "not_translatable messages[0].content[0].source.file_id",
    ],
    ["a tool that the provider runs", tooled({ type: "web_search_20250305", name: "web_search" }), "not_translatable tools[0]"],
    ["a tool that is none", tooled("shell"), "invalid_request tools[0]"],
    ["a text that is a number", user([{ type: "text", text: 5 }]), "invalid_request messages[0].content[0].text"],
    ["a temperature that is a text", { ...user("hello"), temperature: "hot" }, "invalid_request temperature"],
    ["servers that the provider would call", { ...user("hello"), mcp_servers: [{}] }, "not_translatable mcp_servers"],
    ["another price", { ...user("hello"), speed: "fast" }, "not_translatable speed"],
    [
      "a document as a link",
      user([{ type: "document", source: { type: "url", url: "https://example.com/a.pdf" } }]),
      "not_translatable messages[0].content[0].source",
    ],
    ["five stop sequences", { ...user("hello"), stop_sequences: ["1", "2", "3", "4", "5"] }, "not_translatable stop_sequences"],
    ["fields of objects' own", { ...user("hello"), constructor: 1, toString: {}, hasOwnProperty: [] }, "passes"],
  ])("%s", (_what, body, expected) => {
    expect(refusal(body, "anthropic-messages", "openai-chat")).toBe(expected);
  });
});

describe("OpenAI chat completions", () => {
  test.each<[string, unknown, string]>([
    ["an unknown part", user([{ type: "hologram" }]), "not_translatable messages[0].content[0]"],
    ["sound", user([{ type: "input_audio", input_audio: { data: "", format: "wav" } }]), "not_translatable messages[0].content[0]"],
    ["an unknown role", { model: "m", messages: [{ role: "oracle" }] }, "invalid_request messages[0].role"],
    ["a message of a function", { model: "m", messages: [{ role: "function", name: "f", content: "" }] }, "not_translatable messages[0]"],
    ["several answers", { ...user("hello"), n: 2 }, "not_translatable n"],
    ["one answer", { ...user("hello"), n: 1, logprobs: false, top_logprobs: 0, logit_bias: {}, modalities: ["text"] }, "passes"],
    ["probabilities", { ...user("hello"), logprobs: true }, "not_translatable logprobs"],
    ["a search", { ...user("hello"), web_search_options: {} }, "not_translatable web_search_options"],
    ["another tier", { ...user("hello"), service_tier: "flex" }, "not_translatable service_tier"],
    [
      "a call without an id",
      { model: "m", messages: [{ role: "assistant", tool_calls: [{ type: "function", function: { name: "f" } }] }] },
      "invalid_request messages[0].tool_calls[0].id",
    ],
    [
      "a call of nothing",
      { model: "m", messages: [{ role: "assistant", tool_calls: [{ id: "1" }] }] },
      "invalid_request messages[0].tool_calls[0].function",
    ],
    [
      "a file of the provider's",
      user([{ type: "file", file: { file_id: "file_1" } }]),
      "not_translatable messages[0].content[0].file.file_id",
    ],
    [
      "a file of no known form",
      user([{ type: "file", file: { file_data: "data:video/mp4;base64,AAAA" } }]),
      "not_translatable messages[0].content[0].file",
    ],
    [
      "a choice among some tools",
      { ...user("hello"), tool_choice: { type: "allowed_tools", allowed_tools: {} } },
      "not_translatable tool_choice.allowed_tools",
    ],
    ["an unknown form of the answer", { ...user("hello"), response_format: { type: "xml" } }, "invalid_request response_format.type"],
  ])("%s", (_what, body, expected) => {
    expect(refusal(body, "openai-chat", "anthropic-messages")).toBe(expected);
  });

  test("ids and names of any size are short ones for the provider, the same in a call and its result, and different for two", () => {
    const long = "x/".repeat(100_000);
    const call = (end: string): object => ({ id: long + end, type: "function", function: { name: "f", arguments: "{}" } });
    const result = (end: string): object => ({ role: "tool", tool_call_id: long + end, content: "" });
    const messages = [{ role: "assistant", tool_calls: [call("1"), call("2")] }, result("2"), result("1")];
    const { body } = translateRequest(
      JSON.stringify({ model: "m", messages }),
      findCodec("openai-chat"),
      findCodec("anthropic-messages"),
      TARGET,
    );
    const written = JSON.parse(body) as { messages: { content: { id?: string; tool_use_id?: string }[] }[] };
    const [first, second] = (written.messages[0]?.content ?? []).map((block) => block.id);

    expect(first).toMatch(/^[a-zA-Z0-9_-]{1,128}$/);
    expect(first).not.toBe(second);
    expect(written.messages[1]?.content.map((block) => block.tool_use_id)).toEqual([second, first]);
  });

  test("a body of ten thousand unknown fields is told in few names", () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`field_${index}`, 1]));
    const { droppedFields } = translateRequest(
      JSON.stringify({ ...user("hello"), ...many }),
      findCodec("openai-chat"),
      findCodec("anthropic-messages"),
      TARGET,
    );

    expect(droppedFields.length).toBeLessThan(60);
    expect(droppedFields).toContain("…");
  });
});

test("what is nested without end, in a request or in an answer, is told in words", () => {
  const deep = "[".repeat(50_000) + "]".repeat(50_000);
  const request = `{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"a":${deep}}}}]}`;
  const answer = `{"content":[{"type":"tool_use","id":"1","name":"f","input":{"a":${deep}}}]}`;
  const [from, to] = [findCodec("anthropic-messages"), findCodec("openai-chat")];
  const usage = { inputTokens: 1, cacheReadTokens: 0, cacheWrite5mTokens: 0, cacheWrite1hTokens: 0, outputTokens: 1, reasoningTokens: 0 };
  const translation = new AnswerTranslation({
    from,
    to,
    request: { renamedTools: new Map(), freeformTools: new Set(), wantsStreamUsage: false },
    id: "answer_1",
    model: "m",
    createdAtSeconds: 1,
    usage: () => usage,
  });

  expect(() => translateRequest(request, to, from, TARGET)).toThrow(expect.objectContaining({ code: "invalid_request" }));
  expect(() => translation.whole(answer)).toThrow(expect.objectContaining({ code: "provider_answer_unreadable" }));
});

test("a number whose digits are kept is no object, and no word", () => {
  const long = "9".repeat(40);
  const body = `{"model":"m","input":"hello","tools":[{"type":${long}}],"text":${long}}`;

  expect(() => translateRequest(body, findCodec("openai-responses"), findCodec("openai-chat"), TARGET)).toThrow(
    /must be an object|of the type that is missing/,
  );
});

test("a thought goes back to its maker alone, whatever it is signed with; the caller is told of each that does not", () => {
  const messages = findCodec("anthropic-messages");
  const thoughts = ["gAAAAABnative", "gateway-signature:openai-chat:eyJ2YWx1ZSI6IiJ9", "gateway-signature:broken", "gateway-signature::"];
  for (const encrypted_content of thoughts) {
    const input = [{ type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "hm" }], encrypted_content }];
    const { body, droppedFields } = translateRequest(
      JSON.stringify({ model: "m", input }),
      findCodec("openai-responses"),
      messages,
      TARGET,
    );

    expect(body).not.toContain("thinking");
    expect(droppedFields).toContain("input[].encrypted_content");
  }
  const [own] = [{ type: "reasoning", summary: [], encrypted_content: "gateway-signature:anthropic-messages:eyJ2YWx1ZSI6InNpZ25lZCJ9" }];
  const { body } = translateRequest(JSON.stringify({ model: "m", input: [own] }), findCodec("openai-responses"), messages, TARGET);
  expect(body).toContain('{"type":"thinking","thinking":"","signature":"signed"}');
});

test("the data of an event in several lines, ended by either kind of line end, is the same wherever it is cut", () => {
  const stream = Buffer.from('event: x\r\ndata: {"a":\r\ndata: "Grüße"}\r\n\r\n: a comment\n\ndata: {"b":\ndata: 2}\n\ndata: [DONE]\n\n');
  for (let at = 0; at <= stream.length; at += 1) {
    const frames = new FrameData();
    const read = [...frames.push(stream.subarray(0, at)), ...frames.push(stream.subarray(at))];
    expect(read).toEqual([{ a: "Grüße" }, { b: 2 }, undefined]);
  }
});

import { isAppError } from "@proliferate/shared/errors";
import { describe, expect, test } from "vitest";
import type { AskedInPath, Codec } from "../src/codec.ts";
import { findCodec } from "../src/codecs.ts";
import type { JsonObject } from "../src/json.ts";
import { AnswerTranslation, translateError, translateRequest } from "../src/translate.ts";

/** What Gemini alone has: models in paths, calls without ids, signatures on calls, prompts that are blocked. */

const [GEMINI, MESSAGES, CHAT, RESPONSES] = ["gemini", "anthropic-messages", "openai-chat", "openai-responses"].map(findCodec) as [
  Codec,
  Codec,
  Codec,
  Codec,
];
const IN_PATH: AskedInPath = { model: "m", isStream: true };
const USAGE = { inputTokens: 7, cacheReadTokens: 5, cacheWrite5mTokens: 0, cacheWrite1hTokens: 0, outputTokens: 11, reasoningTokens: 4 };

function asked(body: unknown, to: Codec, model = "some-model"): JsonObject {
  const translated = translateRequest(JSON.stringify(body), GEMINI, to, { model, maxOutputTokens: undefined }, IN_PATH);
  return JSON.parse(translated.body) as JsonObject;
}

function written(body: unknown, from: Codec, model: string): { readonly body: JsonObject; readonly dropped: readonly string[] } {
  const translated = translateRequest(JSON.stringify(body), from, GEMINI, { model, maxOutputTokens: undefined });
  return { body: JSON.parse(translated.body) as JsonObject, dropped: translated.droppedFields };
}

function refusal(body: unknown): string {
  try {
    asked(body, MESSAGES);
    return "passes";
  } catch (error) {
    if (!isAppError(error)) throw error;
    return `${error.code} ${error.param ?? ""}`;
  }
}

function translation(from: Codec, to: Codec): AnswerTranslation {
  const request = { renamedTools: new Map<string, string>(), freeformTools: new Set<string>(), wantsStreamUsage: true };
  return new AnswerTranslation({ from, to, request, id: "req_1", model: "m", createdAtSeconds: 1, usage: () => USAGE });
}

function whole(answer: unknown, from: Codec, to: Codec): JsonObject {
  return JSON.parse(translation(from, to).whole(JSON.stringify(answer)).toString()) as JsonObject;
}

function streamed(chunks: readonly unknown[], from: Codec, to: Codec): readonly JsonObject[] {
  const one = translation(from, to);
  const pieces = chunks.flatMap((chunk) => one.push([Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`)]));
  return `${Buffer.concat(pieces).toString()}${one.end().toString()}`
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice("data: ".length)) as JsonObject);
}

const said = (parts: readonly unknown[], finishReason?: string): JsonObject => ({
  candidates: [{ content: { role: "model", parts }, index: 0, ...(finishReason !== undefined && { finishReason }) }],
});
const hello = { contents: [{ role: "user", parts: [{ text: "hello" }] }] };
const parts = (...values: readonly unknown[]): object => ({ contents: [{ role: "user", parts: values }] });
const config = (generationConfig: unknown): object => ({ ...hello, generationConfig });

describe("a request of Gemini that is none, or asks for what Gemini alone has", () => {
  test.each<[string, unknown, string]>([
    ["a search", { ...hello, tools: [{ googleSearch: {} }] }, "not_translatable tools[0].googleSearch"],
    ["a search in the other spelling", { ...hello, tools: [{ google_search: {} }] }, "not_translatable tools[0].googleSearch"],
    ["code that the provider runs", { ...hello, tools: [{ codeExecution: {} }] }, "not_translatable tools[0].codeExecution"],
    ["links that the provider reads", { ...hello, tools: [{ urlContext: {} }] }, "not_translatable tools[0].urlContext"],
    ["several answers", config({ candidateCount: 2 }), "not_translatable generationConfig.candidateCount"],
    ["probabilities", config({ responseLogprobs: true }), "not_translatable generationConfig.responseLogprobs"],
    ["an image as the answer", config({ responseModalities: ["TEXT", "IMAGE"] }), "not_translatable generationConfig.responseModalities"],
    ["a choice among words", config({ responseMimeType: "text/x.enum" }), "not_translatable generationConfig.responseMimeType"],
    ["a cache", { ...hello, cachedContent: "cachedContents/1" }, "not_translatable cachedContent"],
    ["another tier", { ...hello, serviceTier: "flex" }, "not_translatable serviceTier"],
    ["the usual tier", { ...hello, serviceTier: "standard", store: false }, "passes"],
    ["a video", parts({ inlineData: { mimeType: "video/mp4", data: "" } }), "not_translatable contents[0].parts[0].inlineData"],
    ["sound", parts({ inlineData: { mimeType: "audio/wav", data: "" } }), "not_translatable contents[0].parts[0].inlineData"],
    [
      "a file of Google's",
      parts({ fileData: { mimeType: "image/png", fileUri: "https://generativelanguage.googleapis.com/v1beta/files/1" } }),
      "not_translatable contents[0].parts[0].fileData.fileUri",
    ],
    ["a bucket", parts({ fileData: { fileUri: "gs://a/b" } }), "not_translatable contents[0].parts[0].fileData.fileUri"],
    ["a part that is none", parts(5), "invalid_request contents[0].parts[0]"],
    ["an empty part", parts({}), "invalid_request contents[0].parts[0]"],
    ["an unknown part", parts({ hologram: {} }), "invalid_request contents[0].parts[0]"],
    ["no contents", {}, "invalid_request contents"],
    ["contents that are none", { contents: "hello" }, "invalid_request contents"],
    ["an unknown role", { contents: [{ role: "system", parts: [] }] }, "invalid_request contents[0].role"],
    ["a field in both spellings", { ...hello, systemInstruction: {}, system_instruction: {} }, "invalid_request systemInstruction"],
    ["a schema without its type", config({ responseJsonSchema: {} }), "invalid_request generationConfig.responseMimeType"],
    ["fields of objects' own", { ...hello, constructor: 1, __proto__: {}, toString: [] }, "passes"],
  ])("%s", (_what, body, expected) => {
    expect(refusal(body)).toBe(expected);
  });
});

const inputDelta = (partial: string): JsonObject => ({
  type: "content_block_delta",
  index: 0,
  delta: { type: "input_json_delta", partial_json: partial },
});

describe("tools", () => {
  const declared = ["a", "b", "c"].map((name) => ({ name }));
  const choosing = (functionCallingConfig: unknown): object => ({
    ...hello,
    tools: [{ functionDeclarations: declared }],
    toolConfig: { functionCallingConfig },
  });

  test("of several that may be called, the model is told of these alone; of one, it is the one", () => {
    const some = asked(choosing({ mode: "ANY", allowedFunctionNames: ["a", "c"] }), MESSAGES);
    const one = asked(choosing({ mode: "ANY", allowedFunctionNames: ["b"] }), MESSAGES);
    const none = asked(choosing({ mode: "NONE" }), MESSAGES);

    expect((some["tools"] as JsonObject[]).map(({ name }) => name)).toEqual(["a", "c"]);
    expect(some["tool_choice"]).toEqual({ type: "any" });
    expect([one["tool_choice"], (one["tools"] as unknown[]).length]).toEqual([{ type: "tool", name: "b" }, 3]);
    expect(none["tool_choice"]).toEqual({ type: "none" });
  });

  test("calls without ids get ids that no other answer has, the same streamed and whole", () => {
    const answer = said([{ functionCall: { name: "a", args: { x: 1 } } }, { functionCall: { name: "a" } }], "STOP");
    const message = whole(answer, GEMINI, CHAT);
    const [choice] = message["choices"] as [{ message: { tool_calls: unknown }; finish_reason: string }];
    const chunks = streamed([answer], GEMINI, CHAT).flatMap((chunk) => chunk["choices"] as { delta: { tool_calls?: { id?: string }[] } }[]);

    expect(choice.finish_reason).toBe("tool_calls");
    expect(choice.message.tool_calls).toEqual([
      { id: "call_req_1_1", type: "function", function: { name: "a", arguments: '{"x":1}' } },
      { id: "call_req_1_2", type: "function", function: { name: "a", arguments: "{}" } },
    ]);
    expect(chunks.flatMap(({ delta }) => delta.tool_calls?.flatMap(({ id }) => id ?? []) ?? [])).toEqual(["call_req_1_1", "call_req_1_2"]);
  });

  test("a call is one chunk for a caller of Gemini, however its arguments came", () => {
    const chunks = streamed(
      [
        { type: "message_start", message: { id: "msg_1", model: "claude" } },
        { type: "content_block_start", index: 0, content_block: { type: "tool_use", id: "toolu_1", name: "a", input: {} } },
        inputDelta('{"x"'),
        inputDelta(":12}"),
        { type: "content_block_stop", index: 0 },
        { type: "message_delta", delta: { stop_reason: "tool_use" } },
      ],
      MESSAGES,
      GEMINI,
    );

    expect(chunks).toEqual([
      {
        candidates: [{ content: { role: "model", parts: [{ functionCall: { id: "toolu_1", name: "a", args: { x: 12 } } }] }, index: 0 }],
        modelVersion: "claude",
        responseId: "msg_1",
      },
      {
        candidates: [{ content: { role: "model", parts: [{ text: "" }] }, finishReason: "STOP", index: 0 }],
        usageMetadata: {
          promptTokenCount: 12,
          cachedContentTokenCount: 5,
          candidatesTokenCount: 7,
          thoughtsTokenCount: 4,
          totalTokenCount: 23,
        },
        modelVersion: "claude",
        responseId: "msg_1",
      },
    ]);
  });
});

const result = (id: string): string => `result of ${id}`;

describe("signatures of Gemini", () => {
  const answer = said(
    [
      { text: "I think.", thought: true },
      { text: "Both." },
      { functionCall: { id: "1", name: "a", args: {} }, thoughtSignature: "c2lnbmVk" },
      { functionCall: { id: "2", name: "b", args: {} } },
    ],
    "STOP",
  );

  /** The caller's next request: what it got, and its results. */
  const next: readonly (readonly [string, Codec, (answer: JsonObject) => unknown])[] = [
    [
      "anthropic-messages",
      MESSAGES,
      ({ content }) => ({
        max_tokens: 5,
        messages: [
          { role: "assistant", content },
          { role: "user", content: ["1", "2"].map((id) => ({ type: "tool_result", tool_use_id: id, content: result(id) })) },
        ],
      }),
    ],
    [
      "openai-chat",
      CHAT,
      ({ choices }) => ({
        messages: [
          (choices as JsonObject[])[0]?.["message"],
          ...["1", "2"].map((id) => ({ role: "tool", tool_call_id: id, content: result(id) })),
        ],
      }),
    ],
    [
      "openai-responses",
      RESPONSES,
      ({ output }) => ({
        input: [...(output as unknown[]), ...["1", "2"].map((id) => ({ type: "function_call_output", call_id: id, output: result(id) }))],
      }),
    ],
  ];

  test.each(next)("a signature on a call comes back on that call by way of a caller of %s", (_name, caller, ask) => {
    const told = whole(answer, GEMINI, caller);
    const { body } = written({ model: "m", ...(ask(told) as object) }, caller, "gemini-3-pro-preview");
    const [first] = body["contents"] as { role: string; parts: JsonObject[] }[];
    const calls = first?.parts.filter((part) => part["functionCall"]) ?? [];

    expect(first?.role).toBe("model");
    expect(calls.map((part) => [(part["functionCall"] as JsonObject)["id"], part["thoughtSignature"]])).toEqual([
      ["1", "c2lnbmVk"],
      ["2", undefined],
    ]);
    expect(first?.parts.filter((part) => part["text"] === "Both.").map((part) => part["thoughtSignature"])).toEqual([undefined]);
  });

  test("a signature at the end of a streamed text comes back with words", () => {
    const chunks = [said([{ text: "Hel" }]), said([{ text: "lo" }]), said([{ text: "", thoughtSignature: "c2lnbmVk" }], "STOP")];
    const message = whole(said([{ text: "Hello" }, { text: "", thoughtSignature: "c2lnbmVk" }], "STOP"), GEMINI, MESSAGES);
    const blocks = streamed(chunks, GEMINI, MESSAGES).filter(({ type }) => type === "content_block_start");
    const { body } = written(
      { model: "m", max_tokens: 5, messages: [{ role: "assistant", content: message["content"] }] },
      MESSAGES,
      "gemini-2.5-pro",
    );

    expect((message["content"] as JsonObject[]).map(({ type }) => type)).toEqual(["text", "redacted_thinking"]);
    expect(blocks.map((block) => (block["content_block"] as JsonObject)["type"])).toEqual(["text", "redacted_thinking"]);
    expect(body["contents"]).toEqual([{ role: "model", parts: [{ text: "Hello", thoughtSignature: "c2lnbmVk" }] }]);
  });

  test("a first call that no Gemini signed is marked as such for the models that demand one, and for no other", () => {
    const request = {
      model: "m",
      messages: [
        { role: "user", content: "Look." },
        {
          role: "assistant",
          content: null,
          tool_calls: ["1", "2"].map((id) => ({ id, type: "function", function: { name: "a", arguments: "{}" } })),
        },
      ],
    };
    const signatures = (model: string): unknown =>
      (written(request, CHAT, model).body["contents"] as { parts: JsonObject[] }[])[1]?.parts.map((part) => part["thoughtSignature"]);

    expect(signatures("gemini-3-flash-preview")).toEqual(["skip_thought_signature_validator", undefined]);
    expect(signatures("gemini-2.5-pro")).toEqual([undefined, undefined]);
  });
});

describe("the end of an answer", () => {
  test.each([
    ["STOP", "end_turn"],
    ["MAX_TOKENS", "max_tokens"],
    ["SAFETY", "refusal"],
    ["RECITATION", "refusal"],
    ["PROHIBITED_CONTENT", "refusal"],
    ["MALFORMED_FUNCTION_CALL", "end_turn"],
    ["SOMETHING_NEW", "end_turn"],
  ])("%s is %s, once, wherever it stands", (reason, expected) => {
    const deltas = streamed([said([{ text: "a" }], "STOP"), said([{ text: "b" }], reason), { usageMetadata: {} }], GEMINI, MESSAGES);

    expect(whole(said([{ text: "ab" }], reason), GEMINI, MESSAGES)["stop_reason"]).toBe(expected);
    expect(deltas.filter(({ type }) => type === "message_delta").map((event) => (event["delta"] as JsonObject)["stop_reason"])).toEqual([
      expected,
    ]);
  });

  test("a prompt that is blocked is a refusal, whole and streamed", () => {
    const blocked = { promptFeedback: { blockReason: "SAFETY" }, usageMetadata: { promptTokenCount: 7 } };

    expect(whole(blocked, GEMINI, MESSAGES)).toMatchObject({ content: [], stop_reason: "refusal" });
    expect(streamed([blocked], GEMINI, MESSAGES)).toContainEqual(
      expect.objectContaining({ type: "message_delta", delta: { stop_reason: "refusal", stop_sequence: null } }),
    );
  });

  test("what is no answer is told as such", () => {
    expect(() => whole({ candidates: "none" }, GEMINI, MESSAGES)).toThrow(expect.objectContaining({ code: "provider_answer_unreadable" }));
  });
});

const google = (code: number, status: string, message: string): string => JSON.stringify({ error: { code, status, message } });

describe("errors", () => {
  test("in Google's envelope both ways, a prompt that does not fit by the words that agents know", () => {
    const tooLong = google(
      400,
      "INVALID_ARGUMENT",
      "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
    );
    const anthropic = translateError(tooLong, 400, GEMINI, MESSAGES, "req_1");
    const chat = translateError(tooLong, 400, GEMINI, CHAT, "req_1");
    const overloaded = JSON.stringify({ type: "error", error: { type: "overloaded_error", message: "Overloaded" } });
    const back = translateError(overloaded, 529, MESSAGES, GEMINI, "req_1");

    expect([anthropic.status, JSON.parse(anthropic.body)]).toMatchObject([400, { error: { message: /^prompt is too long: / } }]);
    expect([chat.status, JSON.parse(chat.body)]).toMatchObject([400, { error: { code: "context_length_exceeded" } }]);
    expect([back.status, JSON.parse(back.body)]).toEqual([503, { error: { code: 503, message: "Overloaded", status: "UNAVAILABLE" } }]);
  });

  test("within a stream by what they are called", () => {
    const error = { error: { code: 429, status: "RESOURCE_EXHAUSTED", message: "Slow down" } };
    const told = streamed([said([{ text: "a" }]), error], GEMINI, MESSAGES).filter(({ type }) => type === "error");
    const overloaded = { type: "error", error: { type: "overloaded_error", message: "Overloaded" } };

    expect(told).toMatchObject([{ error: { type: "rate_limit_error", message: "Slow down" } }]);
    expect(streamed([overloaded], MESSAGES, GEMINI)).toContainEqual({ error: { code: 503, message: "Overloaded", status: "UNAVAILABLE" } });
  });
});

const thinking = (model: string, settings: object): unknown =>
  (written({ model: "m", messages: [], ...settings }, CHAT, model).body["generationConfig"] as JsonObject | undefined)?.["thinkingConfig"];

describe("how much a model thinks", () => {
  test.each<[string, string, unknown]>([
    ["gemini-3-pro-preview", "minimal", { includeThoughts: true, thinkingLevel: "LOW" }],
    ["gemini-3-flash-preview", "minimal", { includeThoughts: true, thinkingLevel: "MINIMAL" }],
    ["gemini-3-pro-preview", "medium", { includeThoughts: true, thinkingLevel: "HIGH" }],
    ["gemini-3.1-pro-preview", "medium", { includeThoughts: true, thinkingLevel: "MEDIUM" }],
    ["gemini-2.5-pro", "high", { includeThoughts: true, thinkingBudget: 24_576 }],
    ["gemini-2.5-flash", "none", { thinkingBudget: 0 }],
    ["gemini-2.5-pro", "none", { thinkingBudget: 512 }],
    ["gemini-3-pro-preview", "none", { thinkingLevel: "LOW" }],
    ["gemini-2.0-flash", "high", undefined],
  ])("%s with the effort %s", (model, effort, expected) => {
    expect(thinking(model, { reasoning_effort: effort })).toEqual(expected);
  });
});

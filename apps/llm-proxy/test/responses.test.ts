import OpenAI from "openai";
import type { ResponseInput, ResponseStreamEvent } from "openai/resources/responses/responses";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { post, RESPONSE, spendLogOf, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** OpenAI Responses as Codex, the SDKs and the AI SDK use them: `findings/clients.md`, section 3. */

const MODEL = "gpt-5";
const EVENTS = { "content-type": "text/event-stream" };

let stack: TestStack;
let openai: OpenAI;
beforeAll(async () => {
  stack = await startTestStack();
  openai = new OpenAI({ apiKey: stack.key, baseURL: `${stack.proxy.url}/v1`, maxRetries: 0 });
});
afterEach(() => stack.provider.clearScripts());
afterAll(() => stack.stop());

const idOf = (response: { readonly headers: Headers }): string => response.headers.get("x-request-id") ?? "";
const frame = (event: Readonly<Record<string, unknown>>): string => `event: ${String(event["type"])}\ndata: ${JSON.stringify(event)}\n\n`;
const counts = (input_tokens: number, output_tokens: number) => ({
  input_tokens,
  input_tokens_details: { cached_tokens: 0 },
  output_tokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: input_tokens + output_tokens,
});
const search = (id: string, type: string) => ({ id, type: "web_search_call", status: "completed", action: { type, sources: [] } });
/** The provider answers with these events. */
const streamOnce = (...events: readonly Readonly<Record<string, unknown>>[]): void =>
  stack.provider.failNext({ kind: "raw", headers: EVENTS, pieces: events.map(frame) });

async function eventsOf(stream: AsyncIterable<ResponseStreamEvent>): Promise<readonly ResponseStreamEvent[]> {
  const events: ResponseStreamEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

describe("clients F1: the OpenAI SDK", () => {
  test("gets a response whose spend row exists when it has it", async () => {
    const { data, response } = await openai.responses.create({ model: MODEL, input: "Say something.", store: false }).withResponse();

    expect(data.output_text).toContain("You said: Say something.");
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({
      call_type: "aresponses",
      model: "openai/gpt-5",
      status: "success",
      prompt_tokens: data.usage?.input_tokens,
      completion_tokens: data.usage?.output_tokens,
      spend: response.headers.get("x-litellm-response-cost"),
    });
    expect(row.metadata).toMatchObject({ estimated: false, provider_response_id: data.id });
  });

  test("gets a stream, typed events to the last one, and its helper the whole", async () => {
    const { data, response } = await openai.responses.create({ model: MODEL, input: "Say something.", stream: true }).withResponse();
    const events = await eventsOf(data);
    const helped = await openai.responses.stream({ model: MODEL, input: "Say something." }).finalResponse();

    const last = events.at(-1);
    expect(last?.type).toBe("response.completed");
    expect(helped.output_text).toContain("You said: Say something.");
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({ call_type: "aresponses", status: "success", metadata: { estimated: false } });
    expect(row.completion_tokens).toBe((last as { response: { usage: { output_tokens: number } } }).response.usage.output_tokens);
  });

  test("runs a loop of tools, sending all of it again", async () => {
    const tools = [
      {
        type: "function",
        name: "bash",
        strict: false,
        parameters: { type: "object", properties: { command: { type: "string" } }, required: ["command"] },
      } as const,
    ];
    const input: ResponseInput = [{ role: "user", content: "use the bash tool to run `pwd`" }];
    const first = await openai.responses.create({ model: MODEL, input, tools, store: false });
    const call = first.output.find((item) => item.type === "function_call");
    input.push(...(first.output as ResponseInput), { type: "function_call_output", call_id: call?.call_id ?? "", output: "/work" });
    const second = await openai.responses.create({ model: MODEL, input, tools, store: false });

    expect(call?.arguments).toBe('{"command":"pwd"}');
    expect(second.output_text).toContain("The tool answered: /work");
  });

  test("is told by an error event of a stream that its provider did not end", async () => {
    for (const afterFrames of [2, 6]) {
      stack.provider.failNext({ kind: "end_early", afterFrames });
      const { data, response } = await openai.responses.create({ model: MODEL, input: "x", stream: true }).withResponse();

      await expect(eventsOf(data)).rejects.toThrow("the provider ended the answer before its end");
      expect(await spendLogOf(stack, idOf(response))).toMatchObject({ status: "failure", metadata: { estimated: true } });
    }
  });

  test("is told the same where the provider's connection breaks", async () => {
    stack.provider.failNext({ kind: "cut_mid_stream", afterFrames: 7 });

    const stream = await openai.responses.create({ model: MODEL, input: "x", stream: true });

    await expect(eventsOf(stream)).rejects.toMatchObject({ code: "provider_stream_broken" });
  });
});

test("clients F1: a broken stream ends with one event that says it in both forms that clients read", async () => {
  stack.provider.failNext({ kind: "end_early", afterFrames: 5 });
  const text = await (await post(stack, "/v1/responses", { ...RESPONSE, stream: true })).text();

  const last = text.trimEnd().split("\n\n").at(-1) ?? "";
  expect(last).toMatch(/^event: error\ndata: /);
  const event = JSON.parse(last.slice(last.indexOf("data: ") + 6)) as Record<string, unknown>;
  const error = { code: "provider_stream_broken", message: expect.stringContaining("before its end"), param: null };
  expect(event).toMatchObject({ type: "error", sequence_number: 0, ...error, error: { ...error, type: "api_error" } });
});

test("bytes pass: unknown fields and headers of an agent's own, whole and streamed", async () => {
  for (const stream of [false, true]) {
    const body = `{ "model":"gpt-5", "stream":${stream}, "input":[{"role":"user","content":[{"type":"input_text","text":"h\\u0069"}]}],"client_metadata":{"a":1.50},"next_year":[1] }`;
    const headers = { "session-id": "s-1", "openai-beta": "x=1", "x-codex-turn": "t" };
    const response = await post(stack, "/v1/responses", body, { headers });
    const text = await response.text();
    const sent = stack.provider.requests.at(-1);

    expect([response.status, sent?.body.toString()]).toEqual([200, body]);
    expect(sent?.headers).toMatchObject(headers);
    expect(text.length).toBe(sent?.bytesSent);
    expect((await spendLogOf(stack, idOf(response))).session_id).toBe("s-1");
  }
});

describe("what the provider says of its own failure", () => {
  const begun = { type: "response.created", response: { id: "resp_1", model: MODEL, status: "in_progress", usage: null } };
  const delta = { type: "response.output_text.delta", delta: "x".repeat(400) };
  const failed = (usage: unknown) => ({
    type: "response.failed",
    response: { id: "resp_1", model: MODEL, status: "failed", error: { code: "server_error", message: "org-abcdef123 failed" }, usage },
  });

  test("with its counts, it is billed by them, and marked as failed", async () => {
    streamOnce(begun, delta, failed(counts(1_000, 100)));
    const response = await post(stack, "/v1/responses", { model: MODEL, input: "x", stream: true });

    expect(await response.text()).toContain("[redacted] failed");
    expect(await spendLogOf(stack, idOf(response))).toMatchObject({
      status: "failure",
      spend: "0.00225",
      metadata: { estimated: false, error_information: { error_code: "provider_error_event" } },
    });
  });

  test.each([
    [[begun, failed(null)], "0", false],
    [[begun, { type: "error", code: "server_error", message: "no" }], "0", false],
    [[begun, delta, failed(null)], expect.stringMatching(/^0\.00[1-9]/), true],
  ] as const)("without counts: nothing before any output, an estimate after it (%#)", async (events, spend, estimated) => {
    streamOnce(...events);
    const response = await post(stack, "/v1/responses", { model: MODEL, input: "x", stream: true, reasoning: { effort: "none" } });
    await response.text();

    expect(await spendLogOf(stack, idOf(response))).toMatchObject({ status: "failure", spend, metadata: { estimated } });
  });
});

test("clients F2: searches are billed by the items of the output, however large the answer is", async () => {
  const long = { id: "m", type: "message", role: "assistant", content: [{ type: "output_text", text: '"]}'.repeat(100_000) }] };
  const output = [search("a", "search"), long, search("b", "open_page"), long, search("c", "search")];
  const whole = JSON.stringify({
    id: "resp_1",
    object: "response",
    model: MODEL,
    tools: [{ type: "open_page" }],
    output,
    usage: counts(1_000, 100),
  });
  stack.provider.failNext({ kind: "raw", pieces: whole.match(/.{1,5000}/gs) ?? [] });

  const response = await post(stack, "/v1/responses", { model: MODEL, input: "x", tools: [{ type: "web_search" }] });

  expect(await response.text()).toBe(whole);
  expect(await spendLogOf(stack, idOf(response))).toMatchObject({
    spend: "0.02225",
    metadata: { cost_breakdown: { tool_usage_cost: "0.02" } },
  });
});

describe("refusals", () => {
  test("what is kept at the provider is refused before it is sent, for every kind of client", async () => {
    const before = stack.provider.requests.length;
    for (const fields of [{ previous_response_id: "resp_x" }, { store: true }, { background: true }, { input: [{ id: "msg_x" }] }]) {
      const response = await post(stack, "/v1/responses", { ...RESPONSE, ...fields });

      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { code: "invalid_request", param: expect.any(String) } });
    }
    expect(stack.provider.requests).toHaveLength(before);
    await untilNothingIsInFlight(stack);
  });

  test("a WebSocket is answered 426, which Codex goes on from at once", async () => {
    const url = new URL(stack.proxy.url);
    const { request } = await import("node:http");
    const head = await new Promise<{ status: number | undefined; upgrade: string | undefined }>((resolve, reject) => {
      request({
        host: url.hostname,
        port: url.port,
        path: "/v1/responses",
        headers: {
          "connection": "upgrade",
          "upgrade": "websocket",
          "openai-beta": "responses_websockets=2026-02-06",
          "user-agent": "codex_cli_rs/0.171.0",
        },
      })
        .on("response", (response) => {
          response.resume();
          resolve({ status: response.statusCode, upgrade: response.headers.upgrade });
        })
        .on("error", reject)
        .end();
    });

    expect(head).toEqual({ status: 426, upgrade: "HTTP/1.1" });
  });

  test.each([
    ["GET", "/v1/responses/resp_x", "Answers are not kept"],
    ["DELETE", "/v1/responses/resp_x", "Answers are not kept"],
    ["POST", "/v1/responses/resp_x/cancel", "Answers are not kept"],
    ["GET", "/v1/responses/resp_x/input_items", "Answers are not kept"],
    ["POST", "/v1/batches", "Batches are not served"],
    ["POST", "/v1/completions", "POST /v1/chat/completions"],
    ["POST", "/v1/images/generations", "Images are not served"],
    ["POST", "/v1/audio/speech", "not priced"],
  ])("%s %s is 404 in OpenAI's envelope, and says why", async (method, path, why) => {
    const response = await fetch(`${stack.proxy.url}${path}`, { method, headers: { authorization: `Bearer ${stack.key}` } });

    expect([response.status, await response.json()]).toEqual([
      404,
      { error: { message: expect.stringContaining(why), type: "invalid_request_error", param: null, code: "not_found" } },
    ]);
  });

  test("of a path that both APIs have, the caller's own says it", async () => {
    const headers = { "x-api-key": stack.key, "anthropic-version": "2023-06-01" };
    const files = await fetch(`${stack.proxy.url}/v1/files`, { headers });
    const batches = await fetch(`${stack.proxy.url}/v1/messages/batches`, { method: "POST", headers: { "x-api-key": stack.key } });

    for (const response of [files, batches])
      expect([response.status, await response.json()]).toEqual([
        404,
        { type: "error", error: { type: "not_found_error", message: expect.any(String) }, request_id: expect.any(String) },
      ]);
  });

  test("clients F8: Codex is told a spent budget as the one word for it that it knows, and an unknown model by its code", async () => {
    const { key } = await mintKey(stack.proxy, { max_budget: 0.000001 });
    const headers = { "x-api-key": key, "user-agent": "codex_cli_rs/0.171.0" };
    const spent = await post(stack, "/v1/responses", RESPONSE, { headers });
    const unknown = await post(stack, "/v1/responses", { ...RESPONSE, model: "gpt-0" }, { headers });

    expect([spent.status, await spent.json()]).toMatchObject([429, { error: { code: "insufficient_quota", type: "insufficient_quota" } }]);
    expect([unknown.status, await unknown.json()]).toMatchObject([404, { error: { code: "model_not_found" } }]);
  });

  test("clients F13: whoever asks whether anybody is there needs no key", async () => {
    for (const path of ["/api/hello", "/v1/api/hello"]) {
      const response = await fetch(`${stack.proxy.url}${path}`, { method: "HEAD" });
      expect([response.status, await response.text()]).toEqual([200, ""]);
    }
  });
});

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { patience } from "../test-patience.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ProviderStandIn, startProviderStandIn } from "./server.ts";

const KEY = "sk-ant-stand-in";
let provider: ProviderStandIn;
let anthropic: Anthropic;
let openai: OpenAI;

beforeEach(async () => {
  provider = await startProviderStandIn({ apiKey: KEY });
  anthropic = new Anthropic({ apiKey: KEY, baseURL: provider.url, maxRetries: 0, timeout: patience(5_000) });
  openai = new OpenAI({ apiKey: KEY, baseURL: `${provider.url}/v1`, maxRetries: 0, timeout: patience(5_000) });
});

afterEach(async () => provider.stop());

const hello = { model: "claude-sonnet-5", max_tokens: 1_000, messages: [{ role: "user" as const, content: "Hello there" }] };
const helloChat = { model: "gpt-5.4", messages: [{ role: "user" as const, content: "Hello there" }] };

const readTool = {
  name: "read",
  description: "Reads a file",
  input_schema: {
    type: "object" as const,
    properties: { filePath: { type: "string" }, limit: { type: "integer" } },
    required: ["filePath", "limit"],
  },
};

async function streamedChunks(options: { stream_options?: { include_usage: boolean } }): Promise<OpenAI.ChatCompletionChunk[]> {
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of await openai.chat.completions.create({ ...helloChat, ...options, stream: true })) chunks.push(chunk);
  return chunks;
}

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(provider.url + path, {
    method: "POST",
    headers: { "x-api-key": KEY, "anthropic-version": "2023-06-01", "accept-encoding": "identity", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

test("the Anthropic SDK reads a whole answer, and the journal knows what was served", async () => {
  const message = await anthropic.messages.create(hello);

  const [entry] = provider.requests;
  expect(message.content[0]).toMatchObject({ type: "text", text: expect.stringContaining("Hello there") });
  expect(message.id).toMatch(/^msg_01\w{22}$/);
  expect(entry).toMatchObject({ route: "messages", model: "claude-sonnet-5", outcome: "completed", responseId: message.id, stream: false });
  expect(message.usage.input_tokens).toBe(entry?.usage?.inputTokens);
  expect(message.usage.output_tokens).toBe(entry?.usage?.outputTokens);
});

test("the Anthropic SDK reads a stream to the same message, and the same request costs the same", async () => {
  const whole = await anthropic.messages.create(hello);

  const streamed = await anthropic.messages.stream(hello).finalMessage();

  expect(streamed.content).toEqual(whole.content);
  expect(streamed.usage).toMatchObject({ input_tokens: whole.usage.input_tokens, output_tokens: whole.usage.output_tokens });
  expect(provider.requests[1]?.usage).toEqual(provider.requests[0]?.usage);
});

test("Anthropic events come in the API's order", async () => {
  const text = await (await post("/v1/messages", { ...hello, stream: true })).text();

  const events = [...text.matchAll(/^event: (\w+)$/gm)].map((match) => match[1]);
  const order = events.filter((event, index) => event !== events[index - 1]);
  expect(order).toEqual([
    "message_start",
    "content_block_start",
    "ping",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
});

test("an agent that offers tools and is asked to use one gets a call whose input fits the schema, then a final text", async () => {
  const question = { role: "user" as const, content: "Please use a tool, then tell me." };
  const first = await anthropic.messages.stream({ ...hello, tools: [readTool], messages: [question] }).finalMessage();
  const call = first.content.find((block) => block.type === "tool_use");

  const result = { type: "tool_result" as const, tool_use_id: call?.id ?? "", content: "done" };
  const second = await anthropic.messages.create({
    ...hello,
    tools: [readTool],
    messages: [question, { role: "assistant", content: first.content }, { role: "user", content: [result] }],
  });

  expect(first.stop_reason).toBe("tool_use");
  expect(call).toMatchObject({ name: "read", input: { filePath: ".", limit: 1 } });
  expect(second).toMatchObject({ stop_reason: "end_turn", content: [{ text: "The tool answered: done" }] });
});

test("a quoted command is what the named tool is asked to run", async () => {
  const bash = {
    name: "bash",
    input_schema: { type: "object" as const, properties: { command: { type: "string" } }, required: ["command"] },
  };

  const message = await anthropic.messages.create({
    ...hello,
    tools: [readTool, bash],
    messages: [{ role: "user", content: "Use the bash tool to run `echo hi`." }],
  });

  expect(message.content[1]).toMatchObject({ type: "tool_use", name: "bash", input: { command: "echo hi" } });
});

test("a title request gets a short title", async () => {
  const message = await anthropic.messages.create({
    ...hello,
    system: "You are a title generator.",
    messages: [{ role: "user", content: `Explain ${"many ".repeat(40)}things` }],
  });

  expect(message.content[0]).toMatchObject({ type: "text", text: expect.stringMatching(/^Explain many.{0,40}$/) });
});

test("what is marked for the cache is written on the first turn and read on the next, by lifetime", async () => {
  const system = [
    { type: "text" as const, text: "Be good. ".repeat(50), cache_control: { type: "ephemeral" as const, ttl: "1h" as const } },
  ];
  const question = {
    role: "user" as const,
    content: [{ type: "text" as const, text: "Why? ".repeat(30), cache_control: { type: "ephemeral" as const } }],
  };

  const first = await anthropic.messages.create({ ...hello, system, messages: [question] });
  const second = await anthropic.messages.create({
    ...hello,
    system,
    messages: [question, { role: "assistant", content: "So." }, { role: "user", content: "And?" }],
  });

  expect(first.usage.cache_creation?.ephemeral_1h_input_tokens).toBeGreaterThan(100);
  expect(first.usage.cache_creation?.ephemeral_5m_input_tokens).toBeGreaterThan(30);
  expect(first.usage.cache_read_input_tokens).toBe(0);
  expect(second.usage.cache_read_input_tokens).toBe(first.usage.cache_creation_input_tokens);
  expect(second.usage.cache_creation_input_tokens).toBe(0);
});

test("count_tokens answers what the same request is then charged", async () => {
  const { max_tokens: _, ...countable } = hello;
  const counted = await anthropic.messages.countTokens(countable);

  const message = await anthropic.messages.create(hello);

  expect(counted.input_tokens).toBe(message.usage.input_tokens);
});

test("the models of either dialect are listed", async () => {
  const claude = await anthropic.models.list();
  const gpt = await openai.models.list();

  expect(claude.data.map((model) => model.id)).toContain("claude-sonnet-5");
  expect(gpt.data.map((model) => model.id)).toContain("gpt-5.4");
});

test("the OpenAI SDK reads a whole answer", async () => {
  const completion = await openai.chat.completions.create(helloChat);

  expect(completion.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: expect.stringContaining("Hello there") } });
  expect(completion.usage?.completion_tokens).toBe(provider.requests[0]?.usage?.outputTokens);
});

test("an OpenAI stream has a usage chunk without choices exactly when it is asked for", async () => {
  const asked = await streamedChunks({ stream_options: { include_usage: true } });
  const notAsked = await streamedChunks({});

  expect(asked.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: provider.requests[0]?.usage?.inputTokens } });
  expect(asked.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
  expect(notAsked.every((chunk) => chunk.choices.length === 1 && !("usage" in chunk))).toBe(true);
});

test("the OpenAI SDK reads a tool call off the stream", async () => {
  const tools = [{ type: "function" as const, function: { name: "read", parameters: readTool.input_schema } }];
  const stream = openai.chat.completions.stream({ ...helloChat, tools, messages: [{ role: "user", content: "Use the read tool." }] });

  const completion = await stream.finalChatCompletion();

  expect(completion.choices[0]?.message.tool_calls?.[0]).toMatchObject({
    function: { name: "read", arguments: '{"filePath":".","limit":1}' },
  });
});

test("a wrong key is refused in each dialect's own envelope", async () => {
  const wrong = { apiKey: "sk-other", maxRetries: 0 };

  await expect(new Anthropic({ ...wrong, baseURL: provider.url }).messages.create(hello)).rejects.toMatchObject({
    status: 401,
    error: { type: "error", error: { type: "authentication_error" } },
  });
  await expect(new OpenAI({ ...wrong, baseURL: `${provider.url}/v1` }).chat.completions.create(helloChat)).rejects.toMatchObject({
    status: 401,
    code: "invalid_api_key",
  });
});

test("bad requests are refused as the API refuses them", async () => {
  const noVersion = await fetch(`${provider.url}/v1/messages`, {
    method: "POST",
    headers: { "x-api-key": KEY },
    body: JSON.stringify(hello),
  });
  const prefixed = await post("/v1/messages", { ...hello, model: "anthropic/claude-sonnet-5" });
  const unlimited = await post("/v1/messages", { ...hello, max_tokens: undefined });
  const broken = await post("/v1/messages", '{"model": ');

  expect([noVersion.status, prefixed.status, unlimited.status, broken.status]).toEqual([400, 404, 400, 400]);
});

test("queued failures come one a request: status with retry-after, overload, then a good answer", async () => {
  provider.failNext({ kind: "status", status: 429, retryAfterSeconds: 7 }, { kind: "status", status: 529 });

  const limited = await post("/v1/messages", hello);
  const overloaded = await post("/v1/messages", hello);
  const good = await post("/v1/messages", hello);

  expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "7"]);
  expect(await overloaded.json()).toMatchObject({ type: "error", error: { type: "overloaded_error" } });
  expect(good.status).toBe(200);
  expect(provider.requests.map((entry) => entry.outcome)).toEqual(["refused", "refused", "completed"]);
});

test("a rule applies to the requests that match it until it is taken away", async () => {
  const remove = provider.script((request) => request.model === "claude-opus-5", {
    usage: { cacheReadTokens: 77 },
    responseId: "msg_same",
  });

  const matched = await anthropic.messages.create({ ...hello, model: "claude-opus-5" });
  remove();
  const after = await anthropic.messages.create({ ...hello, model: "claude-opus-5" });

  expect(matched).toMatchObject({ id: "msg_same", usage: { cache_read_input_tokens: 77 } });
  expect(after.usage.cache_read_input_tokens).toBe(0);
});

test("a cut stream reaches the client as a broken connection, not as an end", async () => {
  provider.scriptNext({ fault: { kind: "cut_mid_stream", afterFrames: 4 }, frameGapMs: 10 });

  const events: string[] = [];
  const reading = (async () => {
    for await (const event of await anthropic.messages.create({ ...hello, stream: true })) events.push(event.type);
  })();

  await expect(reading).rejects.toThrow(/terminated|closed|reset/i);
  expect(events).toContain("message_start");
  expect(events).not.toContain("message_stop");
  expect(provider.requests[0]).toMatchObject({ outcome: "broken", framesSent: 4 });
});

test("an error event in the middle of a stream is raised by both SDKs", async () => {
  const fault = { kind: "error_event", afterFrames: 3 } as const;
  provider.failNext(fault, fault);

  await expect(anthropic.messages.stream(hello).finalMessage()).rejects.toThrow(/Overloaded/);
  await expect(openai.chat.completions.stream(helloChat).finalChatCompletion()).rejects.toThrow(/Overloaded/);
});

test("a stream can end cleanly without its end event", async () => {
  provider.failNext({ kind: "end_early", afterFrames: 4 });

  const text = await (await post("/v1/messages", { ...hello, stream: true })).text();

  expect(text).not.toContain("message_stop");
  expect(provider.requests[0]?.outcome).toBe("broken");
});

test("a hanging request is open until its caller goes away, before the headers or in the stream", async () => {
  for (const fault of [{ kind: "hang_before_headers" }, { kind: "hang_mid_stream", afterFrames: 2 }] as const) {
    provider.failNext(fault);
    const controller = new AbortController();
    const reading = anthropic.messages.stream(hello, { signal: controller.signal }).finalMessage();
    const frames = fault.kind === "hang_mid_stream" ? 2 : 0;
    const entry = await provider.waitFor((request) => request.outcome === "pending" && request.framesSent === frames);

    controller.abort();

    await expect(reading).rejects.toThrow(/abort/i);
    await provider.waitFor((request) => request === entry && request.outcome === "client_gone");
  }
});

test("200 answers can be wrong: no JSON, no usage, no stream", async () => {
  provider.failNext({ kind: "invalid_json" }, { kind: "missing_usage" }, { kind: "not_a_stream" });

  const broken = await (await post("/v1/messages", hello)).text();
  const free = await (await post("/v1/messages", { ...hello, stream: true })).text();
  const whole = await post("/v1/messages", { ...hello, stream: true });

  expect(() => JSON.parse(broken) as unknown).toThrow(/JSON/);
  expect(free).not.toContain("usage");
  expect(whole.headers.get("content-type")).toBe("application/json");
});

test("answers are gzipped when the caller accepts that, streams frame by frame", async () => {
  const response = await fetch(`${provider.url}/v1/messages`, {
    method: "POST",
    headers: { "x-api-key": KEY, "anthropic-version": "2023-06-01", "accept-encoding": "gzip" },
    body: JSON.stringify({ ...hello, stream: true }),
  });

  expect(response.headers.get("content-encoding")).toBe("gzip");
  expect(await response.text()).toContain("message_stop");
});

test("a slow drip leaves at least the scripted gap between frames, and a huge answer arrives whole", async () => {
  provider.scriptNext({ frameGapMs: 10 }, { answerBytes: 3_000_000 });
  const started = performance.now();

  await anthropic.messages.stream(hello).finalMessage();
  const elapsedMs = performance.now() - started;
  const huge = await anthropic.messages.stream(hello).finalMessage();

  expect(elapsedMs).toBeGreaterThan(9 * ((provider.requests[0]?.framesSent ?? 0) - 1));
  expect(huge.content[0]).toMatchObject({ text: "x".repeat(3_000_000) });
});

test("an answer longer than the caller's limit stops there", async () => {
  const message = await anthropic.messages.create({ ...hello, max_tokens: 5 });

  expect(message.stop_reason).toBe("max_tokens");
  expect(message.usage.output_tokens).toBe(5);
});

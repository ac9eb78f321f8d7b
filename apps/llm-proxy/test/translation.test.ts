import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { MESSAGE, post, spendLogOf, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

let stack: TestStack;
let anthropic: Anthropic;
let openai: OpenAI;

beforeAll(async () => {
  stack = await startTestStack();
  anthropic = new Anthropic({ apiKey: stack.key, baseURL: stack.proxy.url, maxRetries: 0 });
  openai = new OpenAI({ apiKey: stack.key, baseURL: `${stack.proxy.url}/v1`, maxRetries: 0 });
});
afterAll(async () => stack.stop());

/** What the provider was asked last. */
const asked = (): { readonly path: string; readonly body: Record<string, unknown>; readonly headers: Record<string, unknown> } => {
  const { path, body, headers } = stack.provider.requests.at(-1) as unknown as {
    path: string;
    body: Buffer;
    headers: Record<string, unknown>;
  };
  return { path, headers, body: JSON.parse(body.toString()) as Record<string, unknown> };
};

const toClaude = { model: "claude-haiku-4-5", messages: [{ role: "user" as const, content: "Say something." }] };
const toGpt = { ...MESSAGE, model: "gpt-4o-mini", messages: [{ role: "user" as const, content: "Say something." }] };
const shell = { type: "object" as const, properties: { command: { type: "string" } }, required: ["command"] };

describe("the OpenAI SDK with a Claude model", () => {
  test("gets an answer of its own API, billed and told as Anthropic counted", async () => {
    const { data, response } = await openai.chat.completions.create({ ...toClaude, seed: 7, max_tokens: 50 }).withResponse();
    const row = await spendLogOf(stack, response.headers.get("x-request-id") ?? "");

    expect(asked()).toMatchObject({
      path: "/v1/messages",
      body: { max_tokens: 50, messages: [{ role: "user", content: [{ text: "Say something." }] }] },
    });
    expect(data).toMatchObject({ object: "chat.completion", choices: [{ finish_reason: "stop", message: { role: "assistant" } }] });
    expect(data.choices[0]?.message.content).toContain("You said: Say something.");
    expect(row).toMatchObject({ call_type: "acompletion", custom_llm_provider: "anthropic", status: "success" });
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([data.usage?.prompt_tokens, data.usage?.completion_tokens]);
    expect(Number(row.spend)).toBeGreaterThan(0);
    expect(response.headers.get("x-litellm-response-cost")).toBe(row.spend);
    expect(response.headers.get("x-gateway-translated-to")).toBe("anthropic-messages");
    expect(response.headers.get("x-gateway-dropped-fields")).toBe("seed");
  });

  test("gets a stream, with the usage where it asks for it, and the same tokens as whole", async () => {
    const whole = await openai.chat.completions.create(toClaude);
    const { data: stream, response } = await openai.chat.completions
      .create({ ...toClaude, stream: true, stream_options: { include_usage: true } })
      .withResponse();
    const chunks: OpenAI.ChatCompletionChunk[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    const row = await spendLogOf(stack, response.headers.get("x-request-id") ?? "");

    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(whole.choices[0]?.message.content);
    expect(chunks.at(-1)?.usage).toEqual(whole.usage);
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("stop");
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([whole.usage?.prompt_tokens, whole.usage?.completion_tokens]);
  });

  test("runs a whole tool loop, streamed and not", async () => {
    const options = {
      ...toClaude,
      messages: [{ role: "user" as const, content: "Please use the bash tool to run `pwd`" }],
      tools: [
        {
          type: "function" as const,
          function: {
            name: "bash",
            description: "A shell",
            parameters: shell,
            parse: (text: string) => JSON.parse(text) as object,
            function: () => "/somewhere",
          },
        },
      ],
    };
    const whole = await openai.chat.completions.runTools(options).finalContent();
    const streamed = await openai.chat.completions.runTools({ ...options, stream: true }).finalContent();

    expect([whole, streamed]).toEqual(["The tool answered: /somewhere", "The tool answered: /somewhere"]);
    expect(asked().body["messages"]).toMatchObject([
      { role: "user" },
      { role: "assistant", content: [{ type: "text" }, { type: "tool_use", name: "bash", input: { command: "pwd" } }] },
      { role: "user", content: [{ type: "tool_result", content: [{ type: "text", text: "/somewhere" }] }] },
    ]);
  });

  test("gets a provider's refusal in its own envelope: 529 as 503, and the field that cannot be said by name", async () => {
    stack.provider.scriptNext(
      { fault: { kind: "status", status: 529, message: "Overloaded" } },
      { fault: { kind: "status", status: 529 } },
      { fault: { kind: "status", status: 529 } },
    );
    const overloaded = await openai.chat.completions.create(toClaude).catch((error: unknown) => error);
    stack.provider.clearScripts();
    const many = await openai.chat.completions.create({ ...toClaude, n: 2 }).catch((error: unknown) => error);

    expect(overloaded).toMatchObject({ status: 503, type: "server_error", code: "server_is_overloaded" });
    expect(many).toMatchObject({ status: 400, code: "not_translatable", param: "n" });
    await untilNothingIsInFlight(stack);
  });

  test("gets an error event of its own API where the provider's stream ends in one", async () => {
    stack.provider.scriptNext({ fault: { kind: "error_event", afterFrames: 3, type: "overloaded_error", message: "Overloaded" } });
    const stream = await openai.chat.completions.create({ ...toClaude, stream: true });
    const read = (async () => {
      for await (const _ of stream);
    })();

    await expect(read).rejects.toThrow(/Overloaded/);
    await untilNothingIsInFlight(stack);
  });
});

describe("the Anthropic SDK with a GPT model", () => {
  test("gets a message, billed and told as OpenAI counted", async () => {
    const { data, response } = await anthropic.messages.create({ ...toGpt, top_k: 5 } as never).withResponse();
    const message = data as Anthropic.Message;
    const row = await spendLogOf(stack, response.headers.get("request-id") ?? "");

    expect(asked()).toMatchObject({ path: "/v1/chat/completions", body: { max_completion_tokens: 200 } });
    expect(asked().headers["anthropic-version"]).toBeUndefined();
    expect(message).toMatchObject({ type: "message", role: "assistant", stop_reason: "end_turn", content: [{ type: "text" }] });
    expect(row).toMatchObject({ call_type: "anthropic_messages", custom_llm_provider: "openai", status: "success" });
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([message.usage.input_tokens, message.usage.output_tokens]);
    expect(response.headers.get("x-gateway-dropped-fields")).toBe("top_k");
  });

  test("gets a stream that says the same, with the usage at its end", async () => {
    const whole = await anthropic.messages.create(toGpt);
    const stream = anthropic.messages.stream(toGpt);
    const message = await stream.finalMessage();
    const row = await spendLogOf(stack, (await stream.withResponse()).response.headers.get("request-id") ?? "");

    expect(message.content).toEqual(whole.content);
    expect([message.usage.input_tokens, message.usage.output_tokens]).toEqual([whole.usage.input_tokens, whole.usage.output_tokens]);
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([whole.usage.input_tokens, whole.usage.output_tokens]);
  });

  test("runs a whole tool loop, streamed", async () => {
    const first = anthropic.messages.stream({
      ...toGpt,
      messages: [{ role: "user", content: "Please use the bash tool to run `pwd`" }],
      tools: [{ name: "bash", input_schema: shell }],
    });
    const called = await first.finalMessage();
    const call = called.content.find((block) => block.type === "tool_use");
    const last = await anthropic.messages
      .stream({
        ...toGpt,
        tools: [{ name: "bash", input_schema: shell }],
        messages: [
          { role: "user", content: "Please use the bash tool to run `pwd`" },
          { role: "assistant", content: called.content },
          { role: "user", content: [{ type: "tool_result", tool_use_id: call?.id ?? "", content: "/somewhere" }] },
        ],
      })
      .finalText();

    expect(called.stop_reason).toBe("tool_use");
    expect(call).toMatchObject({ name: "bash", input: { command: "pwd" } });
    expect(last).toBe("The tool answered: /somewhere");
    expect(asked().body["messages"]).toMatchObject([
      { role: "user" },
      { role: "assistant", tool_calls: [{ id: call?.id }] },
      { role: "tool", tool_call_id: call?.id },
    ]);
  });

  test("is told an estimate of tokens, and that it is one", async () => {
    const { data, response } = await anthropic.messages.countTokens({ model: "gpt-4o-mini", messages: toGpt.messages }).withResponse();

    expect(data.input_tokens).toBeGreaterThan(0);
    expect(response.headers.get("x-gateway-estimated")).toBe("input_tokens");
  });

  test("is told of a block that no other API has, by its place", async () => {
    const refused = await anthropic.messages
      .create({ ...toGpt, tools: [{ type: "web_search_20250305", name: "web_search" }] })
      .catch((error: unknown) => error);

    expect(refused).toMatchObject({ status: 400, error: { error: { type: "invalid_request_error" } } });
    expect(String(refused)).toContain("tools[0] cannot be translated");
  });
});

test("a large body is translated beside the other requests, and one that is too large is 413", async () => {
  const text = "word ".repeat(80_000);
  const large = await post(stack, "/v1/messages", { ...toGpt, messages: [{ role: "user", content: text }] });
  const tooLarge = await post(stack, "/v1/messages", { ...toGpt, messages: [{ role: "user", content: "x".repeat(17 * 1024 * 1024) }] });

  expect([large.status, tooLarge.status]).toEqual([200, 413]);
  expect(JSON.stringify(asked().body)).toContain(text);
  expect(await tooLarge.json()).toMatchObject({ error: { type: "request_too_large" } });
  await untilNothingIsInFlight(stack);
});

/** A list in a list, so deep. */
const deep = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

describe("what comes from outside and cannot be translated is 400 in the caller's dialect, and costs nothing", () => {
  test.each<[string, string, string]>([
    ["/v1/messages", `{"model":"gpt-4o-mini","max_tokens":5,"messages":[{"role":"user","content":${deep(600)}}]}`, "invalid_request_error"],
    ["/v1/messages", `{"model":"gpt-4o-mini","max_tokens":5,"messages":[{"role":"user","content":${deep(400)}}]}`, "invalid_request_error"],
    ["/v1/messages", '{"model":"gpt-4o-mini","max_tokens":5,"max_tokens":6,"messages":[]}', "invalid_request_error"],
    [
      "/v1/messages",
      '{"model":"gpt-4o-mini","max_tokens":5,"messages":[{"role":"user","content":[{"type":"hologram"}]}]}',
      "invalid_request_error",
    ],
    ["/v1/messages", '{"model":"gpt-4o-mini","max_tokens":5,"messages":{"__proto__":[]}}', "invalid_request_error"],
    [
      "/v1/chat/completions",
      '{"model":"claude-haiku-4-5","messages":[{"role":"user","content":[{"type":"hologram"}]}]}',
      "invalid_request_error",
    ],
    ["/v1/chat/completions", '{"model":"claude-haiku-4-5","messages":[],"n":1,"n":2}', "invalid_request_error"],
  ])("%s %s", async (path, body, type) => {
    const before = stack.provider.requests.length;
    const response = await post(stack, path, body);

    expect([response.status, (await response.json()) as unknown]).toEqual([
      400,
      expect.objectContaining({ error: expect.objectContaining({ type }) }),
    ]);
    expect(stack.provider.requests.length).toBe(before);
    await untilNothingIsInFlight(stack);
  });
});

test("a list of models has what can be used in the dialect: a GPT model is one for Anthropic's clients, too", async () => {
  const ids = (await anthropic.models.list({ limit: 1_000 })).data.map(({ id }) => id);

  expect(ids).toEqual(expect.arrayContaining(["claude-haiku-4-5", "gpt-4o-mini"]));
});

test("the fields of a translated answer's headers are the caller's text, and no header is made of them", async () => {
  const response = await post(stack, "/v1/messages", { ...toGpt, "x\r\nset-cookie: a=b": 1, "größe": 1 });

  expect(response.status).toBe(200);
  expect(response.headers.get("set-cookie")).toBeNull();
  expect(response.headers.get("x-gateway-dropped-fields")).toBe("gr%C3%B6%C3%9Fe, x%0D%0Aset-cookie: a=b");
  await response.text();
});

test("where translation is off, each client is told so by the status on which it stops", async () => {
  const off = await startTestStack({ TRANSLATION: "off" });
  try {
    const ask = async (path: string, model: string, agent: string): Promise<unknown> => {
      const response = await post(off, path, { ...toGpt, model }, { headers: { "user-agent": agent } });
      const { error } = (await response.json()) as { error: { type: string; code?: string } };
      return [response.status, response.headers.get("x-should-retry"), error.type, error.code];
    };

    expect(await ask("/v1/messages", "gpt-4o-mini", "claude-cli/2.1.332")).toEqual([404, "false", "not_found_error", undefined]);
    expect(await ask("/v1/chat/completions", "claude-haiku-4-5", "OpenAI/JS")).toEqual([
      404,
      "false",
      "invalid_request_error",
      "model_dialect_mismatch",
    ]);
    expect(await ask("/v1/responses", "claude-haiku-4-5", "codex_cli_rs/0.171.0")).toEqual([
      404,
      "false",
      "invalid_request_error",
      "model_not_found",
    ]);
    expect(
      (await new Anthropic({ apiKey: off.key, baseURL: off.proxy.url }).models.list({ limit: 1_000 })).data.filter(({ id }) =>
        id.startsWith("gpt"),
      ),
    ).toEqual([]);
  } finally {
    await off.stop();
  }
});

test("a key that is allowed no such model is refused as in the model's own dialect, and a spent budget, too", async () => {
  const { key } = await mintKey(stack.proxy, { models: ["claude-haiku-4-5", "gpt-4.1-mini"], max_budget: 0.000001 });
  const ask = async (model: string): Promise<number> =>
    (await post(stack, "/v1/messages", { ...toGpt, model }, { headers: { "x-api-key": key } })).status;

  expect([await ask("gpt-4o-mini"), await ask("gpt-4.1-mini")]).toEqual([403, 402]);
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { post, spendLogOf, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** Responses from and to the other APIs: a model of Claude, one that is served in Responses alone, and one of a server that has chats alone. */
const CONFIG = `
general_settings: { master_key: os.environ/LITELLM_MASTER_KEY }
model_list:
  - { model_name: claude, litellm_params: { model: anthropic/claude-haiku-4-5 } }
  - { model_name: gpt-responses, litellm_params: { model: openai/gpt-5 }, model_info: { supported_endpoints: [/v1/responses] } }
  - { model_name: gpt-chat, litellm_params: { model: openai/gpt-4o-mini }, model_info: { supported_endpoints: [/v1/chat/completions] } }
`;

let stack: TestStack;
let folder: string;
let anthropic: Anthropic;
let openai: OpenAI;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "translation-"));
  const config = join(folder, "config.yaml");
  await writeFile(config, CONFIG);
  stack = await startTestStack({ LITELLM_CONFIG: config });
  anthropic = new Anthropic({ apiKey: stack.key, baseURL: stack.proxy.url, maxRetries: 0 });
  openai = new OpenAI({ apiKey: stack.key, baseURL: `${stack.proxy.url}/v1`, maxRetries: 0 });
});
afterAll(async () => {
  await stack.stop();
  await rm(folder, { recursive: true, force: true });
});

const asked = (): { readonly path: string; readonly body: Record<string, unknown> } => {
  const { path, body } = stack.provider.requests.at(-1) as unknown as { path: string; body: Buffer };
  return { path, body: JSON.parse(body.toString()) as Record<string, unknown> };
};

const shell = { type: "object" as const, properties: { command: { type: "string" } }, required: ["command"] };
const PWD = "Please use the bash tool to run `pwd`";

describe.each([
  ["claude", "/v1/messages"],
  ["gpt-chat", "/v1/chat/completions"],
])("a caller of Responses with the model %s", (model, path) => {
  test("gets a response, billed and told as the provider counted, streamed as whole", async () => {
    const body = { model, input: "Say something.", instructions: "Be brief." };
    const { data: whole, response } = await openai.responses.create(body).withResponse();
    const row = await spendLogOf(stack, response.headers.get("x-request-id") ?? "");
    const streamed = await openai.responses.stream(body).finalResponse();

    expect(asked().path).toBe(path);
    expect(whole).toMatchObject({ object: "response", status: "completed", output: [{ type: "message", role: "assistant" }] });
    expect(whole.output_text).toContain("You said: Say something.");
    expect(streamed.output_text).toBe(whole.output_text);
    expect(streamed.usage).toEqual(whole.usage);
    expect(row).toMatchObject({ call_type: "aresponses", status: "success" });
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([whole.usage?.input_tokens, whole.usage?.output_tokens]);
  });

  test("runs a whole tool loop as Codex does: namespaces, free text and a search offered, streamed", async () => {
    const input: OpenAI.Responses.ResponseInputItem[] = [
      { type: "message", role: "developer", content: [{ type: "input_text", text: "You are an agent." }] },
      { type: "message", role: "user", content: [{ type: "input_text", text: PWD }] },
    ];
    const request = {
      model,
      store: false,
      include: ["reasoning.encrypted_content" as const],
      parallel_tool_calls: true,
      prompt_cache_key: "session-1",
      tools: [
        { type: "function" as const, name: "bash", parameters: shell, strict: false },
        {
          type: "custom" as const,
          name: "apply_patch",
          format: { type: "grammar" as const, syntax: "lark" as const, definition: "start: /.+/" },
        },
        {
          type: "namespace" as const,
          name: "web",
          description: "pages",
          tools: [{ type: "function" as const, name: "open", parameters: shell }],
        },
        { type: "web_search" as const },
      ],
    };
    const first = await openai.responses.stream({ ...request, input }).finalResponse();
    const call = first.output.find((item) => item.type === "function_call");
    const output = { type: "function_call_output" as const, call_id: call?.call_id ?? "", output: "/somewhere" };
    const last = await openai.responses.create({ ...request, input: [...input, ...first.output, output] as never });

    expect(call).toMatchObject({ name: "bash", status: "completed" });
    expect(JSON.parse(call?.arguments ?? "")).toEqual({ command: "pwd" });
    expect(last.output_text).toBe("The tool answered: /somewhere");
    expect((asked().body["tools"] as unknown[]).length).toBe(3);
  });

  test("calls a tool of a namespace, and one that takes any text, by their own names", async () => {
    const tools = [
      { type: "custom" as const, name: "apply_patch" },
      {
        type: "namespace" as const,
        name: "web",
        description: "pages",
        tools: [{ type: "function" as const, name: "open", parameters: shell }],
      },
    ];
    const ask = async (name: string, input: Record<string, unknown>): Promise<unknown> => {
      stack.provider.scriptNext({ toolUse: { name, input } });
      return (await openai.responses.stream({ model, input: "go", tools }).finalResponse()).output.at(-1);
    };
    await openai.responses.create({ model, input: "go", tools });
    const renamed = JSON.stringify(asked().body["tools"]).match(/web_open_[0-9a-f]{16}/)?.[0] ?? "";

    expect(await ask("apply_patch", { input: "+ a line" })).toMatchObject({
      type: "custom_tool_call",
      name: "apply_patch",
      input: "+ a line",
    });
    expect(await ask(renamed, { command: "x" })).toMatchObject({
      type: "function_call",
      namespace: "web",
      name: "open",
      arguments: '{"command":"x"}',
    });
  });
});

describe("a model that is served in Responses alone", () => {
  test("answers Anthropic's clients, thoughts and tool loop included", async () => {
    const tools = [{ name: "bash", input_schema: shell }];
    const request = { model: "gpt-responses", max_tokens: 2_000, tools, thinking: { type: "adaptive" as const } };
    const first = await anthropic.messages.stream({ ...request, messages: [{ role: "user", content: PWD }] }).finalMessage();
    const call = first.content.find((block) => block.type === "tool_use");
    const { data: last, response } = await anthropic.messages
      .create({
        ...request,
        messages: [
          { role: "user", content: PWD },
          { role: "assistant", content: first.content },
          { role: "user", content: [{ type: "tool_result", tool_use_id: call?.id ?? "", content: "/somewhere" }] },
        ],
      })
      .withResponse();
    const row = await spendLogOf(stack, response.headers.get("request-id") ?? "");

    expect(asked()).toMatchObject({
      path: "/v1/responses",
      body: { store: false, input: [{ role: "user" }, { type: "message" }, { type: "function_call" }, { type: "function_call_output" }] },
    });
    expect(first.stop_reason).toBe("tool_use");
    expect(last.content.at(-1)).toMatchObject({ type: "text", text: "The tool answered: /somewhere" });
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([last.usage.input_tokens, last.usage.output_tokens]);
  });

  test("answers OpenAI's chats, whole and streamed", async () => {
    const body = { model: "gpt-responses", messages: [{ role: "user" as const, content: "Say something." }] };
    const whole = await openai.chat.completions.create(body);
    const stream = openai.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    const streamed = await stream.finalChatCompletion();

    expect(streamed.choices[0]?.message.content).toBe(whole.choices[0]?.message.content);
    expect(streamed.usage).toEqual(whole.usage);
    expect(asked().path).toBe("/v1/responses");
  });
});

/** What Claude was told that it had said itself. */
const blocksSent = (): unknown =>
  (asked().body["messages"] as { role: string; content: unknown }[]).find(({ role }) => role === "assistant")?.content;

describe("a thought of Claude's travels signed through a caller's own API, and comes back to Claude", () => {
  const thinking = { thinking: "I look where I am." };
  const expected = [
    { type: "thinking", thinking: "I look where I am.", signature: expect.stringMatching(/.{8}/) },
    { type: "text", text: "I use bash for that." },
    expect.objectContaining({ type: "tool_use", name: "bash", input: { command: "pwd" } }),
  ];

  test.each([true, false])("of Responses, streamed: %s", async (stream) => {
    stack.provider.scriptNext(thinking);
    const request = {
      model: "claude",
      tools: [{ type: "function" as const, name: "bash", parameters: shell, strict: false }],
      reasoning: { effort: "medium" as const },
    };
    const input = [{ role: "user" as const, content: PWD }];
    const create = async (): Promise<OpenAI.Responses.Response> => openai.responses.create({ ...request, input });
    const first = stream ? await openai.responses.stream({ ...request, input }).finalResponse() : await create();
    const call = first.output.find((item) => item.type === "function_call");
    await openai.responses.create({
      ...request,
      input: [...input, ...first.output, { type: "function_call_output", call_id: call?.call_id ?? "", output: "/somewhere" }] as never,
    });

    expect(first.output[0]).toMatchObject({ type: "reasoning", summary: [{ type: "summary_text", text: "I look where I am." }] });
    expect(blocksSent()).toEqual(expected);
    expect(asked().body["thinking"]).toMatchObject({ type: "enabled" });
  });

  test("of chats, whole", async () => {
    stack.provider.scriptNext(thinking);
    const request = {
      model: "claude",
      reasoning_effort: "medium" as const,
      tools: [{ type: "function" as const, function: { name: "bash", parameters: shell } }],
    };
    const question = { role: "user" as const, content: PWD };
    const { message } = (await openai.chat.completions.create({ ...request, messages: [question] }))
      .choices[0] as OpenAI.ChatCompletion.Choice;
    const answer = { role: "tool" as const, tool_call_id: message.tool_calls?.[0]?.id ?? "", content: "/somewhere" };
    await openai.chat.completions.create({ ...request, messages: [question, message, answer] });
    const withThought = [blocksSent(), asked().body["thinking"]];
    const { reasoning_signatures: _signed, ...forgetful } = message as typeof message & { readonly reasoning_signatures: unknown };
    const { response } = await openai.chat.completions.create({ ...request, messages: [question, forgetful, answer] }).withResponse();

    expect(message).toMatchObject({ reasoning_content: "I look where I am." });
    expect(withThought).toEqual([expected, { type: "enabled", budget_tokens: 8_192 }]);
    // Claude would refuse the turn of a caller that kept nothing of it.
    expect(asked().body["thinking"]).toBeUndefined();
    expect(response.headers.get("x-gateway-dropped-fields")).toContain("reasoning_effort");
  });
});

test("what only the caller's API would charge for is no cost of a translated request: it is judged by what its provider gets", async () => {
  const tools = [{ type: "web_search_preview" }];
  const response = await post(stack, "/v1/responses", { model: "claude", input: "hello", tools });

  expect(response.status).toBe(200);
  expect(response.headers.get("x-gateway-dropped-fields")).toBe("tools[].type");
  expect(asked().body["tools"]).toBeUndefined();
  await response.text();
});

test("a provider's error event, and its refusal, come as Responses have them", async () => {
  stack.provider.scriptNext({ fault: { kind: "error_event", afterFrames: 3, type: "overloaded_error", message: "Overloaded" } });
  const response = await post(stack, "/v1/responses", { model: "claude", input: "hello", stream: true });
  const text = await response.text();
  stack.provider.scriptNext({ fault: { kind: "status", status: 400, message: "prompt is too long: 250000 tokens > 200000 maximum" } });
  const tooLong = await post(stack, "/v1/responses", { model: "claude", input: "hello" });

  expect(text).toContain('event: error\ndata: {"type":"error"');
  expect(text).toContain('"code":"server_is_overloaded","message":"Overloaded"');
  expect([tooLong.status, await tooLong.json()]).toEqual([400, { error: expect.objectContaining({ code: "context_length_exceeded" }) }]);
  await untilNothingIsInFlight(stack);
});

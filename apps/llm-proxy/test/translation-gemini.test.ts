import Anthropic from "@anthropic-ai/sdk";
import { type Content, type GenerateContentResponse, GoogleGenAI } from "@google/genai";
import { GoogleGenAI as GoogleGenAI1 } from "google-genai-1";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NOTHING_IN_FLIGHT, inFlight, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

/** Whole tool loops across APIs with the unmodified libraries: the others' clients on models of Gemini, Google's on Claude and on GPT. */

let stack: TestStack;
let anthropic: Anthropic;
let openai: OpenAI;
beforeAll(async () => {
  stack = await startTestStack();
  anthropic = new Anthropic({ apiKey: stack.key, baseURL: stack.proxy.url, maxRetries: 0 });
  openai = new OpenAI({ apiKey: stack.key, baseURL: `${stack.proxy.url}/v1`, maxRetries: 0 });
});
afterAll(() => stack.stop());

const GEMINI = "gemini-2.5-flash";
const PWD = "Please use the bash tool to run `pwd`";
const shell = { type: "object" as const, properties: { command: { type: "string" } }, required: ["command"] };
const LIBRARIES = [
  ["@google/genai 3.3.0", GoogleGenAI],
  ["@google/genai 1.30.0", GoogleGenAI1 as unknown as typeof GoogleGenAI],
] as const;

const askedPath = (): string => String((stack.provider.requests.at(-1) as { readonly path?: unknown } | undefined)?.path);

async function collect(stream: AsyncIterable<GenerateContentResponse>): Promise<readonly GenerateContentResponse[]> {
  const chunks: GenerateContentResponse[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

describe("clients F9: others' clients on a model of Gemini", () => {
  test("Anthropic's library runs a tool loop, streamed and whole, and is told what is billed", async () => {
    const request = { model: GEMINI, max_tokens: 2_000, tools: [{ name: "bash", input_schema: shell }] };
    const first = await anthropic.messages.stream({ ...request, messages: [{ role: "user", content: PWD }] }).finalMessage();
    const path = askedPath();
    const call = first.content.find((block) => block.type === "tool_use");
    const result = { type: "tool_result" as const, tool_use_id: call?.id ?? "", content: "/somewhere" };
    const { data: last, response } = await anthropic.messages
      .create({
        ...request,
        messages: [
          { role: "user", content: PWD },
          { role: "assistant", content: first.content },
          { role: "user", content: [result] },
        ],
      })
      .withResponse();
    const row = await spendLogOf(stack, response.headers.get("request-id") ?? "");

    expect(path).toBe(`/v1beta/models/${GEMINI}:streamGenerateContent?alt=sse`);
    expect(askedPath()).toBe(`/v1beta/models/${GEMINI}:generateContent`);
    expect(first.stop_reason).toBe("tool_use");
    expect(call).toMatchObject({ name: "bash", input: { command: "pwd" } });
    expect(call?.id).toMatch(/^call_/);
    expect(last).toMatchObject({
      stop_reason: "end_turn",
      content: [{ type: "text", text: expect.stringContaining("/somewhere") as string }],
    });
    expect(row).toMatchObject({ call_type: "anthropic_messages", custom_llm_provider: "gemini", status: "success" });
    expect([row.prompt_tokens, row.completion_tokens]).toEqual([last.usage.input_tokens, last.usage.output_tokens]);
  });

  test("OpenAI's library runs a tool loop in chats and in Responses, streamed", async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: PWD }];
    const tools = [{ type: "function" as const, function: { name: "bash", parameters: shell } }];
    const chat = await openai.chat.completions.stream({ model: GEMINI, messages, tools }).finalChatCompletion();
    const [message] = chat.choices.map((choice) => choice.message);
    const [call] = message?.tool_calls ?? [];
    const answered = await openai.chat.completions.create({
      model: GEMINI,
      tools,
      messages: [
        ...messages,
        message as OpenAI.ChatCompletionMessage,
        { role: "tool", tool_call_id: call?.id ?? "", content: "/somewhere" },
      ],
    });
    const input: OpenAI.Responses.ResponseInputItem[] = [{ role: "user", content: PWD }];
    const request = { model: GEMINI, tools: [{ type: "function" as const, name: "bash", parameters: shell, strict: false }] };
    const response = await openai.responses.stream({ ...request, input }).finalResponse();
    const called = response.output.find((item) => item.type === "function_call");
    const output = { type: "function_call_output" as const, call_id: called?.call_id ?? "", output: "/somewhere" };
    const last = await openai.responses.create({ ...request, input: [...input, ...response.output, output] as never });

    expect(chat.choices[0]?.finish_reason).toBe("tool_calls");
    expect(call).toMatchObject({ function: { name: "bash", arguments: '{"command":"pwd"}' } });
    expect(answered.choices[0]?.message.content).toContain("/somewhere");
    expect(called).toMatchObject({ name: "bash", arguments: '{"command":"pwd"}' });
    expect(last.output_text).toContain("/somewhere");
  });
});

describe.each(LIBRARIES)("clients F9: %s on models of others", (_name, Library) => {
  test.each([
    ["claude-haiku-4-5", "/v1/messages"],
    ["gpt-4o-mini", "/v1/chat/completions"],
  ])("runs a tool loop on %s, streamed and whole, and is told what is billed", async (model, path) => {
    const client = new Library({ apiKey: stack.key, httpOptions: { baseUrl: stack.proxy.url } });
    const config = {
      systemInstruction: "You are an agent.",
      temperature: 1,
      topP: 0.95,
      topK: 64,
      tools: [{ functionDeclarations: [{ name: "bash", description: "Runs", parametersJsonSchema: shell }] }],
    };
    const question: Content = { role: "user", parts: [{ text: PWD }] };
    const chunks = await collect(await client.models.generateContentStream({ model, contents: [question], config }));
    const [call] = chunks.flatMap((chunk) => chunk.functionCalls ?? []);
    const said: Content = { role: "model", parts: chunks.flatMap((chunk) => chunk.candidates?.[0]?.content?.parts ?? []) };
    const result: Content = {
      role: "user",
      parts: [{ functionResponse: { id: call?.id ?? "", name: "bash", response: { output: "/somewhere" } } }],
    };
    const last = await client.models.generateContent({ model, contents: [question, said, result], config });

    expect(askedPath()).toBe(path);
    expect(call).toMatchObject({ name: "bash", args: { command: "pwd" } });
    expect(chunks.at(-1)?.candidates?.[0]?.finishReason).toBe("STOP");
    expect(chunks.at(-1)?.usageMetadata?.totalTokenCount).toBeGreaterThan(0);
    expect(last.text).toBe("The tool answered: /somewhere");
    expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  });

  test("raises what a provider of another API refuses, and what no other API has, with the words", async () => {
    const client = new Library({ apiKey: stack.key, httpOptions: { baseUrl: stack.proxy.url } });
    const request = { model: "claude-haiku-4-5", contents: "hello" };
    stack.provider.failNext({ kind: "status", status: 400, message: "prompt is too long: 250000 tokens > 200000 maximum" });
    await expect(client.models.generateContent(request)).rejects.toThrow(/token count exceeds the maximum.*prompt is too long/);
    await expect(client.models.generateContent({ ...request, config: { tools: [{ googleSearch: {} }] } })).rejects.toThrow(
      /tools\[0\]\.googleSearch/,
    );
  });
});

const seeded = (text: string): object => ({ contents: [{ parts: [{ text }] }], safetySettings: [], generationConfig: { seed: 1 } });

test("clients F9: a caller of Gemini is told of its translation in headers, and of a large body's the same", async () => {
  const path = "/v1beta/models/claude-haiku-4-5:generateContent";
  const [small, large] = [await post(stack, path, seeded("hello")), await post(stack, path, seeded("hello ".repeat(100_000)))];

  expect([small.status, large.status]).toEqual([200, 200]);
  for (const response of [small, large]) {
    expect(response.headers.get("x-gateway-translated-to")).toBe("anthropic-messages");
    expect(response.headers.get("x-gateway-dropped-fields")).toBe("generationConfig.seed, safetySettings");
    expect(await response.json()).toMatchObject({
      candidates: [{ finishReason: "STOP" }],
      modelVersion: expect.stringContaining("claude-haiku-4-5") as string,
    });
  }
});

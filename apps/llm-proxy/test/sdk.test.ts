import Anthropic from "@anthropic-ai/sdk";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { findSpendLog } from "@proliferate/access/spend-logs";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { manage, mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";

let database: TestDatabase;
let provider: ProviderStandIn;
let proxy: ProxyProcess;
let key: string;
let anthropic: Anthropic;
let openai: OpenAI;

beforeAll(async () => {
  database = await createTestDatabase();
  provider = await startProviderStandIn({ apiKey: PROVIDER_KEY });
  proxy = await startProxyProcess({ connectionString: database.connectionString, providerUrl: provider.url });
  await manage(proxy, "/team/new", { team_id: "org-1" });
  key = (await mintKey(proxy, { team_id: "org-1", user_id: "session-1", key_alias: "session-1/a", max_budget: 5 })).key;
  anthropic = new Anthropic({ apiKey: key, baseURL: proxy.url, maxRetries: 0 });
  openai = new OpenAI({ apiKey: key, baseURL: `${proxy.url}/v1`, maxRetries: 0 });
});
afterAll(async () => {
  await proxy.stop();
  await provider.stop();
  await database.drop();
});

const question = { model: "claude-sonnet-4-5", max_tokens: 200, messages: [{ role: "user" as const, content: "Say something." }] };
const model = "text-embedding-3-small";
const chat = { model: "gpt-4o-mini", messages: [{ role: "user" as const, content: "Say something." }] };

/** Of an embedding as it came: numbers, or the base64 of 32-bit floats. */
const vectorOf = (value: unknown): unknown =>
  typeof value === "string" ? [...new Float32Array(Uint8Array.from(Buffer.from(value, "base64")).buffer)] : value;

describe("the Anthropic SDK", () => {
  test("gets an answer whose spend row exists when it has it", async () => {
    const { data: message, response } = await anthropic.messages.create(question).withResponse();

    const row = await findSpendLog(database.db, response.headers.get("request-id") ?? "");
    expect(message.content[0]).toMatchObject({ type: "text" });
    expect(row).toMatchObject({
      team_id: "org-1",
      user: "session-1",
      call_type: "anthropic_messages",
      model: "anthropic/claude-sonnet-4-5-20250929",
      status: "success",
      prompt_tokens: message.usage.input_tokens,
      completion_tokens: message.usage.output_tokens,
    });
    expect(row?.spend).toBe(response.headers.get("x-litellm-response-cost"));
    expect(row?.metadata).toMatchObject({ provider_response_id: message.id, estimated: false });
  });

  test("gets a stream, and the spend row exists when it has the last event", async () => {
    const stream = anthropic.messages.stream(question);
    const { response } = await stream.withResponse();
    const message = await stream.finalMessage();

    const row = await findSpendLog(database.db, response.headers.get("request-id") ?? "");
    expect(row).toMatchObject({
      status: "success",
      prompt_tokens: message.usage.input_tokens,
      completion_tokens: message.usage.output_tokens,
    });
    expect(Number(row?.spend)).toBeGreaterThan(0);
  });
});

describe("the OpenAI SDK", () => {
  test("gets an answer with its spend row", async () => {
    const { data: completion, response } = await openai.chat.completions.create(chat).withResponse();

    const row = await findSpendLog(database.db, response.headers.get("x-request-id") ?? "");
    expect(row).toMatchObject({ call_type: "acompletion", prompt_tokens: completion.usage?.prompt_tokens, status: "success" });
  });

  test("gets a stream without the usage chunk that it did not ask for, metered all the same", async () => {
    const { data: stream, response } = await openai.chat.completions.create({ ...chat, stream: true }).withResponse();
    const chunks: OpenAI.ChatCompletionChunk[] = [];
    for await (const chunk of stream) chunks.push(chunk);

    const row = await findSpendLog(database.db, response.headers.get("x-request-id") ?? "");
    expect(chunks.every((chunk) => chunk.choices.length === 1)).toBe(true);
    expect(row).toMatchObject({ status: "success" });
    expect(row?.completion_tokens).toBeGreaterThan(0);
    expect(row?.metadata).toMatchObject({ estimated: false });
  });

  test.each(["base64", "float"] as const)("clients F5: gets embeddings as %s, metered by their input alone", async (encoding_format) => {
    const input = ["Say something.", "And something else, which is longer."];
    const { data: answer, response } = await openai.embeddings.create({ model, input, encoding_format }).withResponse();
    // What it asks for when it is not told, it decodes itself.
    const unasked = await openai.embeddings.create({ model, input });

    expect(answer.data).toHaveLength(2);
    expect(unasked.data[1]?.embedding).toHaveLength(8);
    expect(typeof answer.data[0]?.embedding).toBe(encoding_format === "base64" ? "string" : "object");
    expect(answer.data.map(({ embedding }) => vectorOf(embedding))).toEqual(unasked.data.map(({ embedding }) => embedding));
    const row = await findSpendLog(database.db, response.headers.get("x-request-id") ?? "");
    expect(row).toMatchObject({
      call_type: "aembedding",
      model: "openai/text-embedding-3-small",
      status: "success",
      prompt_tokens: answer.usage.prompt_tokens,
      completion_tokens: 0,
    });
    expect(row?.metadata).toMatchObject({ estimated: false });
    expect(Number(row?.spend)).toBe(Number(`${2 * answer.usage.prompt_tokens}e-8`));
    expect(Number(response.headers.get("x-litellm-response-cost"))).toBe(Number(row?.spend));
  });

  test("clients F5: lists of token lists pass byte for byte, and are counted for the estimate as what they are", async () => {
    const body = `{"model":"${model}", "input":[[1,2,3],[100000,4]],"dimensions":8,"new_field":[1.50]}`;
    const response = await fetch(`${proxy.url}/v1/embeddings`, { method: "POST", headers: { authorization: `Bearer ${key}` }, body });

    expect([response.status, await response.json()]).toEqual([
      200,
      expect.objectContaining({ usage: { prompt_tokens: 5, total_tokens: 5 } }),
    ]);
    expect(provider.requests.at(-1)?.body.toString()).toBe(body);
  });
});

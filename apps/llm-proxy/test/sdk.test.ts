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
const chat = { model: "gpt-4o-mini", messages: [{ role: "user" as const, content: "Say something." }] };

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
});

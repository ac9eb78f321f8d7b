import Anthropic from "@anthropic-ai/sdk";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { CHAT, inFlight, NOTHING_IN_FLIGHT, post, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

let stack: TestStack;
let other: ProxyProcess;
beforeAll(async () => {
  stack = await startTestStack({ ADMISSION_WAITERS_PER_KEY: "12" });
  other = await startProxyProcess({ connectionString: stack.database.connectionString, providerUrl: stack.provider.url });
});
beforeEach(() => stack.provider.script(() => true, { headersDelayMs: 300 }));
afterAll(async () => {
  await other.stop();
  await stack.stop();
});

/** What an SDK asks for by default; on this model it may cost 1.28 USD. */
const LARGE = { model: "claude-sonnet-5", max_tokens: 128_000, messages: [{ role: "user" as const, content: "hello" }] };

test("clients F4: ten small calls at once, each of which asks for 128,000 tokens, all succeed on a key of 5 USD, without a retry", async () => {
  const { key } = await mintKey(stack.proxy, { max_budget: 5 });
  const client = new Anthropic({ apiKey: key, baseURL: stack.proxy.url, maxRetries: 0 });

  const answers = await Promise.all(Array.from({ length: 10 }, async () => client.messages.stream(LARGE).finalMessage()));

  expect(answers.every(({ content }) => content[0]?.type === "text")).toBe(true);
  await untilNothingIsInFlight(stack);
});

test("clients F4: and so they do over two proxies, whose reservations are in each other's way", async () => {
  const { key } = await mintKey(stack.proxy, { max_budget: 2 });
  const clients = [stack.proxy.url, other.url].map((baseURL) => new Anthropic({ apiKey: key, baseURL, maxRetries: 0 }));

  const answers = await Promise.all(
    clients.flatMap((client) =>
      Array.from({ length: 4 }, async () => client.messages.create({ ...LARGE, max_tokens: 20_000 }, { timeout: patience(60_000) })),
    ),
  );

  expect(answers).toHaveLength(8);
  await untilNothingIsInFlight(stack);
});

test("a caller that leaves while it waits reserves nothing, and costs nothing", async () => {
  const { key, token } = await mintKey(stack.proxy, { max_budget: 0.1 });
  const headers = { "x-api-key": key };
  const leaving = new AbortController();
  const before = stack.provider.requests.length;
  const served = post(stack, "/v1/messages", LARGE, { headers });
  await expect.poll(() => stack.provider.requests.length).toBe(before + 1);

  const left = post(stack, "/v1/messages", LARGE, { headers, signal: leaving.signal }).catch((error: unknown) => (error as Error).name);
  const last = post(stack, "/v1/chat/completions", CHAT, { headers });
  leaving.abort();

  expect(await left).toBe("AbortError");
  expect([(await served).status, (await last).status]).toEqual([200, 200]);
  await expect.poll(async () => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  const rows = await stack.database.db.selectFrom("LiteLLM_SpendLogs").select("request_id").where("api_key", "=", token).execute();
  expect(rows).toHaveLength(2);
});

test("more than may wait are told at once, with when to come back; the others are served when what was reserved is given back", async () => {
  const { key } = await mintKey(stack.proxy, { max_budget: 0.1 });
  const headers = { "x-api-key": key };
  stack.provider.script(() => true, { headersDelayMs: 120_000 });
  const leaving = new AbortController();
  const before = stack.provider.requests.length;
  const first = post(stack, "/v1/messages", LARGE, { headers, signal: leaving.signal }).catch(() => "left");
  await expect.poll(() => stack.provider.requests.length).toBe(before + 1);

  const answers: Response[] = [];
  const calls = Array.from({ length: 20 }, async () => {
    const response = await post(stack, "/v1/messages", { ...LARGE, max_tokens: 20_000 }, { headers });
    answers.push(response);
    await response.arrayBuffer();
  });
  await expect.poll(() => answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 429));
  stack.provider.script(() => true, { headersDelayMs: 0 });
  leaving.abort();

  expect(await first).toBe("left");
  await Promise.all(calls);
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(12);
  expect(answers.slice(0, 8).every((response) => response.headers.get("retry-after") === "1")).toBe(true);
});

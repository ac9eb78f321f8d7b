import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { addDecimals, compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import { sql } from "kysely";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HeldProvider } from "./held-provider.ts";
import { mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";

/**
 * Issue 8, "what must be shown" 3: a provider that reports all that it physically can, 200 calls at once of each kind, and no
 * budget is overshot by more than one request. Every answer is held until each of the 200 is either at the provider or refused.
 */

const CALLS = 200;

interface Kind {
  readonly name: string;
  readonly path: "/v1/messages" | "/v1/chat/completions";
  readonly body: Readonly<Record<string, unknown>>;
  readonly maxBudget: number;
  /** The most that the provider can report for it. */
  readonly answer: Readonly<Record<string, unknown>>;
}

const user = (content: unknown) => ({ messages: [{ role: "user", content }] });
const message = (usage: Readonly<Record<string, unknown>>) => ({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "m",
  content: [{ type: "text", text: "ok" }],
  stop_reason: "end_turn",
  usage,
});
const chat = (usage: Readonly<Record<string, unknown>>, more: Readonly<Record<string, unknown>> = {}) => ({
  id: "c",
  object: "chat.completion",
  model: "m",
  choices: [{ index: 0, message: { role: "assistant", content: "ok" }, finish_reason: "stop" }],
  usage,
  ...more,
});
const written = (tokens: number, output: number) => ({
  input_tokens: 0,
  cache_creation_input_tokens: tokens,
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: tokens },
  output_tokens: output,
});

const KINDS: readonly Kind[] = [
  {
    name: "unmeasured inputs: a document by URL (public bug 35b, hostile 3)",
    path: "/v1/messages",
    body: { model: "claude-haiku-4-5", max_tokens: 1, ...user([{ type: "document", source: { type: "url", url: "https://e/x.pdf" } }]) },
    maxBudget: 0.01,
    answer: message(written(200_000, 1)),
  },
  {
    name: "no limits: the model's own, eight times (public bug 35a, hostile 11)",
    path: "/v1/chat/completions",
    body: { model: "gpt-5.4", n: 8, ...user("hi") },
    maxBudget: 1,
    answer: chat({ prompt_tokens: 8, completion_tokens: 8 * 128_000 }),
  },
  {
    name: "server loops: searches, each over the whole window (public bug 35c)",
    path: "/v1/messages",
    body: {
      model: "claude-opus-5-5",
      max_tokens: 64,
      tools: [{ type: "web_search_20260318", name: "web_search", max_uses: 4 }],
      ...user("hi"),
    },
    maxBudget: 5,
    answer: message({
      ...written(1_000_000, 64),
      server_tool_use: { web_search_requests: 4 },
      iterations: [
        { type: "message", ...written(1_000_000, 64) },
        ...Array.from({ length: 4 }, () => ({ type: "message", ...written(1_000_000, 0) })),
      ],
    }),
  },
  {
    name: "server loops: an advisor of another model (public bug 9)",
    path: "/v1/messages",
    body: {
      model: "claude-haiku-4-5",
      max_tokens: 64,
      tools: [{ type: "advisor_20260301", name: "advisor", model: "claude-opus-5-5", max_uses: 2 }],
      ...user("hi"),
    },
    maxBudget: 1,
    answer: message({
      ...written(200_000, 64),
      iterations: [
        { type: "message", ...written(200_000, 64) },
        ...Array.from({ length: 2 }, () => ({ type: "advisor_message", model: "claude-opus-5-5", ...written(1_000_000, 128_000) })),
        ...Array.from({ length: 2 }, () => ({ type: "message", ...written(200_000, 0) })),
      ],
    }),
  },
  {
    name: "compaction: all of it once more, with an answer (public bug 3)",
    path: "/v1/messages",
    body: {
      model: "claude-opus-5-5",
      max_tokens: 64,
      context_management: { edits: [{ type: "compact_20260112" }] },
      ...user("hi".repeat(200)),
    },
    maxBudget: 1,
    answer: message({
      ...written(300, 64),
      iterations: [
        { type: "compaction", ...written(300, 128_000) },
        { type: "message", ...written(300, 64) },
      ],
    }),
  },
  {
    name: "tiers: fast, and in one country (public bug 35d, hostile 2)",
    path: "/v1/messages",
    body: { model: "claude-opus-5-5", max_tokens: 1_000, speed: "fast", inference_geo: "us", ...user("hi") },
    maxBudget: 0.05,
    answer: message({ ...written(5, 1_000), speed: "fast", inference_geo: "us" }),
  },
  {
    name: "tiers: priority (public bug 6)",
    path: "/v1/chat/completions",
    body: { model: "gpt-5.4", max_completion_tokens: 1_000, service_tier: "priority", ...user("hi") },
    maxBudget: 0.05,
    answer: chat({ prompt_tokens: 8, completion_tokens: 1_000 }, { service_tier: "priority" }),
  },
  {
    name: "text that looks like media (hostile 11b)",
    path: "/v1/messages",
    body: { model: "claude-haiku-4-5", max_tokens: 1, ...user(`data:${"x ".repeat(12_000)}`) },
    maxBudget: 0.02,
    answer: message(written(24_000, 1)),
  },
];

let database: TestDatabase;
let proxy: ProxyProcess;
const provider = new HeldProvider();

beforeAll(async () => {
  database = await createTestDatabase();
  await provider.start();
  proxy = await startProxyProcess({
    connectionString: database.connectionString,
    providerUrl: provider.url,
    environment: { ADMISSION_WAIT_MS: "0" },
  });
});
afterAll(async () => {
  await proxy.stop();
  provider.stop();
  await database.drop();
});

interface Row {
  readonly spend: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

async function rowsOf(keyHash: string): Promise<readonly Row[]> {
  const { rows } =
    await sql<Row>`select spend::text::numeric::text as spend, metadata from "LiteLLM_SpendLogs" where api_key = ${keyHash}`.execute(
      database.db,
    );
  return rows;
}

/** All at once; resolves with their statuses when each was answered. */
async function wave({ path, body, answer }: Kind, key: string): Promise<readonly number[]> {
  provider.answer = answer;
  const statuses: number[] = [];
  const calls = Array.from({ length: CALLS }, async () => {
    const response = await fetch(`${proxy.url}${path}`, {
      method: "POST",
      headers: { "x-api-key": key, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    await response.arrayBuffer();
    statuses.push(response.status);
  });
  await expect.poll(() => statuses.length + provider.held, { timeout: patience(120_000), interval: 20 }).toBe(CALLS);
  provider.letGo();
  await Promise.all(calls);
  return statuses;
}

test.each(KINDS.map((kind) => [kind.name, kind] as const))(
  "F3, at most one request of overshoot: %s",
  { timeout: patience(300_000) },
  async (_name, kind) => {
    const { key, token } = await mintKey(proxy, { max_budget: kind.maxBudget });

    const first = await wave(kind, key);
    const second = await wave(kind, key);

    expect(first).toContain(200);
    expect([...first, ...second].every((status) => [200, 402, 429].includes(status))).toBe(true);
    const rows = await rowsOf(token);
    const spent = addDecimals(...rows.map(({ spend }) => spend));
    const largest =
      rows
        .map(({ spend }) => spend)
        .toSorted(compareDecimals)
        .at(-1) ?? "0";
    expect(compareDecimals(largest, "0")).toBe(1);
    expect(compareDecimals(subtractDecimals(spent, String(kind.maxBudget)), largest)).toBeLessThanOrEqual(0);
    expect(rows.filter(({ metadata }) => JSON.stringify(metadata).includes("over_reservation"))).toEqual([]);
  },
);

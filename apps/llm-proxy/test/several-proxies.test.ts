import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { addDecimals, compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import { patience } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HeldProvider } from "./held-provider.ts";
import { manage, mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";

/**
 * Issue 11, "what must be shown" 2: a limit is one limit, through however many proxy processes on one database its requests come, and
 * through however many keys. Every answer is held until each call is either at the provider or refused, so that all are at once.
 */

const CALLS = 200;
/** Of each wave after the first: more than fit by then. */
const FURTHER_CALLS = 16;
const ROTATIONS = 20;
const MESSAGE = { model: "claude-haiku-4-5", max_tokens: 50, messages: [{ role: "user", content: "Say something." }] } as const;
/** As much as the request asks for. */
const ANSWER = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-haiku-4-5",
  content: [{ type: "text", text: "ok" }],
  stop_reason: "end_turn",
  usage: { input_tokens: 12, output_tokens: 50 },
} as const;

let database: TestDatabase;
const provider = new HeldProvider();
const proxies: ProxyProcess[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  await provider.start();
  provider.answer = ANSWER;
});
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  provider.stop();
  await database.drop();
});

async function startUntil(count: number): Promise<void> {
  while (proxies.length < count)
    proxies.push(
      await startProxyProcess({
        connectionString: database.connectionString,
        providerUrl: provider.url,
        environment: { ADMISSION_WAIT_MS: "0" },
      }),
    );
}

const proxyAt = (index: number): ProxyProcess => proxies[index % proxies.length] as ProxyProcess;

/** Calls at once, from proxy to proxy, with one key after the other. `meanwhile` happens while all that were admitted are under way. */
async function wave(calls: number, keys: readonly string[], meanwhile?: () => Promise<unknown>): Promise<readonly number[]> {
  const statuses: number[] = [];
  const asked = Array.from({ length: calls }, async (_, index) => {
    const response = await fetch(`${proxyAt(index).url}/v1/messages`, {
      method: "POST",
      // Neighbours differ in their proxy, and those of one proxy in their key.
      headers: { "x-api-key": keys[Math.floor(index / proxies.length) % keys.length] ?? "", "content-type": "application/json" },
      body: JSON.stringify(MESSAGE),
    });
    await response.arrayBuffer();
    statuses.push(response.status);
  });
  await expect.poll(() => statuses.length + provider.held, { timeout: patience(120_000), interval: 20 }).toBe(calls);
  await meanwhile?.();
  provider.letGo();
  await Promise.all(asked);
  return statuses;
}

interface Used {
  readonly requests: number;
  readonly usd: string;
  readonly tokens: string;
  /** What the dearest and the longest one used. */
  readonly mostUsd: string;
  readonly mostTokens: string;
}

/** What the spend rows of a user or a team say. */
async function usedBy(column: "user" | "team_id", id: string): Promise<Used> {
  const { rows } = await sql<Used>`
    select count(*)::integer as requests, coalesce(sum(spend::text::numeric), 0)::text as usd, coalesce(sum(total_tokens), 0)::text as tokens,
           coalesce(max(spend::text::numeric), 0)::text as "mostUsd", coalesce(max(total_tokens), 0)::text as "mostTokens"
      from "LiteLLM_SpendLogs" where ${sql.ref(column)} = ${id}`.execute(database.db);
  return rows[0] as Used;
}

/** Of a user or a team, whose counters they are whatever keys there were. */
async function reservedOf(id: string): Promise<string> {
  const { rows } = await sql<{ reserved: string }>`
    select trim_scale(coalesce(sum(reserved), 0))::text as reserved from limit_counters where principal_id = ${id}`.execute(database.db);
  return rows[0]?.reserved ?? "";
}

const setLimit = async (principal: { readonly principal_kind: string; readonly principal_id: string }, meter: string, amount: string) =>
  expect(await manage(proxyAt(0), "/limit/set", { ...principal, meter, window: "total", amount })).toMatchObject({ status: 200 });

/** Used up, and by no more than one request beyond it. */
function expectWithinOneRequest(used: string, cap: string, most: string): void {
  expect(compareDecimals(most, "0")).toBe(1);
  expect(compareDecimals(used, addDecimals(cap, most))).toBeLessThanOrEqual(0);
  expect(compareDecimals(used, subtractDecimals(cap, most))).toBe(1);
}

/** A new key, made by one proxy; the one before it is deleted by another while calls of both are under way. */
async function rotate(keyOf: Readonly<Record<string, unknown>>): Promise<number> {
  let [live, admitted] = [(await mintKey(proxyAt(0), keyOf)).key, 0];
  for (let round = 0; round < ROTATIONS; round += 1) {
    const { key } = await mintKey(proxyAt(round), keyOf);
    const former = live;
    const statuses = await wave(12, [former, key], () => manage(proxyAt(round + 1), "/key/delete", { keys: [former] }));
    expect(new Set([...statuses, 200, 429, 402])).toEqual(new Set([200, 429, 402]));
    admitted += statuses.filter((status) => status === 200).length;
    live = key;
  }
  return admitted;
}

describe.each([1, 2, 4])("through %i proxies", { timeout: patience(300_000) }, (count) => {
  beforeAll(() => startUntil(count), patience(120_000));

  test("200 calls at once on a limit of 10 requests: exactly 10", async () => {
    const userId = `requests-${count}`;
    const { key } = await mintKey(proxyAt(0), { user_id: userId });
    await setLimit({ principal_kind: "user", principal_id: userId }, "requests", "10");

    const statuses = await wave(CALLS, [key]);

    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(CALLS - 10);
    expect(await usedBy("user", userId)).toMatchObject({ requests: 10 });
    expect(await reservedOf(userId)).toBe("0");
  });

  test.each([
    ["usd", "0.003", "mostUsd"],
    ["tokens", "650", "mostTokens"],
  ] as const)("200 calls at once on a limit of %s: used up within one request", async (meter, cap, most) => {
    const userId = `${meter}-${count}`;
    const { key } = await mintKey(proxyAt(0), { user_id: userId });
    await setLimit({ principal_kind: "user", principal_id: userId }, meter, cap);

    // What was reserved beyond what an answer took is there again for the next ones.
    const admitted: number[] = [];
    do admitted.push((await wave(admitted.length === 0 ? CALLS : FURTHER_CALLS, [key])).filter((status) => status === 200).length);
    while (admitted.at(-1) !== 0);

    const used = await usedBy("user", userId);
    expect(used.requests).toBe(admitted.reduce((sum, each) => sum + each));
    expectWithinOneRequest(used[meter], cap, used[most]);
    expect(await reservedOf(userId)).toBe("0");
  });
});

describe("a cap holds across keys", { timeout: patience(300_000) }, () => {
  beforeAll(() => startUntil(4), patience(120_000));

  test("20 rotations under a user's limit of requests: exactly as many as it allows", async () => {
    await setLimit({ principal_kind: "user", principal_id: "rotated-requests" }, "requests", "130");

    expect(await rotate({ user_id: "rotated-requests" })).toBe(130);

    expect(await usedBy("user", "rotated-requests")).toMatchObject({ requests: 130 });
    expect(await reservedOf("rotated-requests")).toBe("0");
  });

  test("20 rotations under a user's limit of tokens: used up within one request", async () => {
    await setLimit({ principal_kind: "user", principal_id: "rotated-tokens" }, "tokens", "8000");

    await rotate({ user_id: "rotated-tokens" });

    const { tokens, mostTokens } = await usedBy("user", "rotated-tokens");
    expectWithinOneRequest(tokens, "8000", mostTokens);
    expect(await reservedOf("rotated-tokens")).toBe("0");
  });

  test("20 rotations under a team's max_budget: used up within one request", async () => {
    await manage(proxyAt(0), "/team/new", { team_id: "rotated-usd", max_budget: 0.04 });

    await rotate({ team_id: "rotated-usd" });

    const { usd, mostUsd } = await usedBy("team_id", "rotated-usd");
    expectWithinOneRequest(usd, "0.04", mostUsd);
    expect(await reservedOf("rotated-usd")).toBe("0");
  });

  test("two live keys of one user, 200 calls at once: exactly the 10 of their one limit", async () => {
    await setLimit({ principal_kind: "user", principal_id: "two-keys" }, "requests", "10");
    const keys = await Promise.all([mintKey(proxyAt(0), { user_id: "two-keys" }), mintKey(proxyAt(1), { user_id: "two-keys" })]);

    const statuses = await wave(
      CALLS,
      keys.map(({ key }) => key),
    );

    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(await usedBy("user", "two-keys")).toMatchObject({ requests: 10 });
  });
});

import { patience } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { manage, mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { CHAT, MESSAGE, startTestStack, type TestStack } from "./test-stack.ts";

/**
 * What is changed through one proxy holds at another one. Nothing that an admission depends on is kept in a process, so it holds for
 * the next request, which is sooner than the second that is promised.
 */

let stack: TestStack;
let other: ProxyProcess;
beforeAll(async () => {
  stack = await startTestStack();
  other = await startProxyProcess({ connectionString: stack.database.connectionString, providerUrl: stack.provider.url });
  await manage(stack.proxy, "/team/new", { team_id: "shared" });
});
afterAll(async () => {
  await other.stop();
  await stack.stop();
});

/** Asks the proxy through which nothing is changed. */
async function ask(key: string, body: unknown = MESSAGE, path = "/v1/messages"): Promise<number> {
  const response = await fetch(`${other.url}${path}`, {
    method: "POST",
    headers: { "x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(patience(20_000)),
  });
  await response.text();
  return response.status;
}

interface Change {
  readonly what: string;
  readonly change: (key: string, token: string) => Promise<unknown>;
  readonly refusedAs: number;
  /** Undoes it. Absent: there is no way back. */
  readonly undo?: (key: string, token: string) => Promise<unknown>;
}

const blockTeam = (isBlocked: boolean): Promise<unknown> =>
  sql`update "LiteLLM_TeamTable" set blocked = ${isBlocked} where team_id = 'shared'`.execute(stack.database.db);
const setLimit = (token: string, amount: number): Promise<unknown> =>
  manage(stack.proxy, "/limit/set", { principal_kind: "key", principal_id: token, meter: "requests", window: "month", amount });
const update = (key: string, fields: Readonly<Record<string, unknown>>): Promise<unknown> =>
  manage(stack.proxy, "/key/update", { key, ...fields });

const CHANGES: readonly Change[] = [
  { what: "the key is deleted", change: (key) => manage(stack.proxy, "/key/delete", { keys: [key] }), refusedAs: 401 },
  {
    what: "the key is blocked",
    change: (key) => manage(stack.proxy, "/key/block", { key }),
    refusedAs: 401,
    undo: (key) => manage(stack.proxy, "/key/unblock", { key }),
  },
  {
    what: "the key expires",
    change: (_, token) =>
      sql`update "LiteLLM_VerificationToken" set expires = now() at time zone 'utc' where token = ${token}`.execute(stack.database.db),
    refusedAs: 401,
    undo: (key) => update(key, { duration: "1h" }),
  },
  { what: "the team is blocked", change: () => blockTeam(true), refusedAs: 401, undo: () => blockTeam(false) },
  {
    what: "the models of the key are narrowed",
    change: (key) => update(key, { models: ["gpt-4o-mini"] }),
    refusedAs: 403,
    undo: (key) => update(key, { models: [] }),
  },
  {
    what: "the budget is lowered below what is spent",
    change: (key) => update(key, { max_budget: 0.000000001 }),
    refusedAs: 402,
    undo: (key) => update(key, { max_budget: 100 }),
  },
  {
    what: "a limit is set that is used up",
    change: (_, token) => setLimit(token, 0),
    refusedAs: 429,
    undo: (_, token) => setLimit(token, 1_000),
  },
];

test.each(CHANGES)(
  "$what through one proxy: the other refuses the next request, and takes it again when that is undone",
  async ({ change, refusedAs, undo }) => {
    const { key, token } = await mintKey(stack.proxy, { team_id: "shared" });
    expect(await ask(key)).toBe(200);

    await change(key, token);
    expect(await ask(key)).toBe(refusedAs);

    await undo?.(key, token);
    expect(await ask(key)).toBe(undo ? 200 : refusedAs);
    expect(await ask(key, CHAT, "/v1/chat/completions")).toBe(undo ? 200 : refusedAs);
  },
);

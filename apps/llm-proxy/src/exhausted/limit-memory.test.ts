import { randomUUID } from "node:crypto";
import { changeKey, mintKey, regenerateKey } from "@proliferate/access/keys";
import { type SetLimit, upsertLimit } from "@proliferate/access/limits";
import { admitAttempt, type ExceededPath, resetDueBudgets, settleAttempt } from "@proliferate/access/requests";
import { outcomeOf, requestOf, type TestRequest } from "@proliferate/access/test/test-requests";
import type { DatabaseClient } from "@proliferate/db";
import { type ClockedClient, openClockedClient } from "@proliferate/db/test/test-clock";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { isAppError } from "@proliferate/shared/errors";
import { until } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BELIEVED_MS, type Finding } from "./finding.ts";
import { admitRemembering, LimitMemory } from "./limit-memory.ts";

/** One or two proxies' memories on one database, by clocks that the test moves: nothing here waits for time to pass. */

let database: TestDatabase;
let clocked: ClockedClient;
beforeAll(async () => {
  database = await createTestDatabase();
  clocked = await openClockedClient(database);
});
afterAll(async () => {
  await clocked.destroy();
  await database.drop();
});

const NOON_MS = Date.parse("2026-11-27T12:00:00Z");
/** The clock of this machine, which goes as the store's does, from another beginning. */
const clock = { ms: 0 };
const goOn = async (ms: number): Promise<void> => {
  clock.ms += ms;
  await clocked.setClock(new Date(NOON_MS + clock.ms).toISOString());
};
beforeEach(() => goOn(60_000 - (clock.ms % 60_000)));

/** What Redis keeps, or says that it does. */
class Board {
  readonly findings = new Map<string, Finding>();
  find = async (keyHash: string): Promise<Finding | undefined> => this.findings.get(keyHash);
  tell = async (keyHash: string, finding: Finding): Promise<void> => void this.findings.set(keyHash, finding);
}

type MintedKey = Awaited<ReturnType<typeof mintKey>>;

interface Proxy {
  readonly memory: LimitMemory;
  /** By whom each refusal from memory was found. */
  readonly refused: string[];
}

/** By the test's clock, where admission measures by `performance.now`. */
class ClockedMemory extends LimitMemory {
  override found(path: ExceededPath, model: string): void {
    super.found({ ...path, askedAtMs: clock.ms }, model);
  }
}

function proxyOn(board = new Board()): Proxy {
  const refused: string[] = [];
  const memory = new ClockedMemory({
    shared: board,
    nowMs: () => clock.ms,
    metrics: { refusedFromMemory: (source) => refused.push(source) },
  });
  return { memory, refused };
}

/** Admitted, and settled at once; or what the caller is told, with the limit as it is told of. */
async function ask({ memory }: Proxy, { row }: MintedKey, asked: TestRequest = {}, db: DatabaseClient = clocked.db): Promise<unknown> {
  const request = await requestOf(db, row.token, asked);
  return told(async () => settleAttempt(db, await admitRemembering(db, memory, request), outcomeOf("0.001")));
}

async function told(attempt: () => Promise<unknown>): Promise<unknown> {
  try {
    await attempt();
    return "admitted";
  } catch (error) {
    if (!isAppError(error)) throw error;
    const { code, message, retryAfterSeconds, details } = error;
    return { code, message, retryAfterSeconds, details };
  }
}

const mint = async (fields: Parameters<typeof mintKey>[1] = {}): Promise<MintedKey> =>
  mintKey(clocked.db, { userId: `user-${randomUUID()}`, ...fields });
const set = (limit: Pick<SetLimit, "principal" | "amount"> & Partial<SetLimit>): Promise<boolean> =>
  upsertLimit(clocked.db, { meter: "requests", window: "total", model: "", enforce: "refuse", ...limit });
const keyOf = ({ row }: MintedKey): SetLimit["principal"] => ({ kind: "key", id: row.token });
const userOf = ({ row }: MintedKey): SetLimit["principal"] => ({ kind: "user", id: row.user_id ?? "" });
const isRefused = expect.objectContaining({ code: expect.stringMatching(/_exceeded|rate_limited/) });

/** Counts the statements that go through it. */
function counting(): { readonly db: DatabaseClient; readonly count: () => number } {
  let statements = 0;
  const db = clocked.db.withPlugin({
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => ((statements += 1), result),
  });
  return { db, count: () => statements };
}

test("of a key that is refused in a tight loop PostgreSQL is asked who it is, and once in 900 ms what its limits say", async () => {
  const [proxy, key] = [proxyOn(), await mint()];
  await set({ principal: userOf(key), amount: "1" });
  const { db, count } = counting();
  const costs = async (): Promise<number> => {
    const before = count();
    expect(await ask(proxy, key, {}, db)).toEqual(isRefused);
    return count() - before;
  };
  expect(await ask(proxy, key, {}, db)).toBe("admitted");
  const [asked, again] = [await costs(), await costs()];

  // Who calls.
  expect(again).toBe(1);
  expect(asked).toBeGreaterThan(5);
  for (let index = 0; index < 200; index += 1) expect(await costs()).toBe(1);
  await goOn(BELIEVED_MS - 1);
  expect(await costs()).toBe(1);
  await goOn(1);
  expect([await costs(), await costs()]).toEqual([asked, 1]);
  expect(proxy.refused).toHaveLength(203);
});

describe("what memory refuses with is word for word what PostgreSQL would:", () => {
  const team = `team-${randomUUID()}`;
  const limits: Readonly<Record<string, (key: MintedKey) => Promise<unknown>>> = {
    "requests of the key": (key) => set({ principal: keyOf(key), amount: "1" }),
    "requests of the key and a model": (key) => set({ principal: keyOf(key), amount: "1", model: "claude-haiku-4-5" }),
    "requests of the user a day": (key) => set({ principal: userOf(key), amount: "1", window: "day" }),
    "requests of the user a minute": (key) => set({ principal: userOf(key), amount: "1", window: "minute" }),
    "tokens of the user an hour": (key) => set({ principal: userOf(key), amount: "12", meter: "tokens", window: "hour" }),
    "dollars of the team in five hours": () => set({ principal: { kind: "team", id: team }, amount: "0.001", meter: "usd", window: "5h" }),
    "nothing at a time": (key) => set({ principal: userOf(key), amount: "0", meter: "parallel" }),
    "the key's budget": ({ row }) => changeKey(clocked.db, row.token, { maxBudgetUsd: "0.001" }),
    "the key's requests a minute, by LiteLLM's column": ({ row }) => changeKey(clocked.db, row.token, { rpmLimit: 1 }),
  };
  beforeAll(() => sql`insert into "LiteLLM_TeamTable" (team_id) values (${team})`.execute(clocked.db));

  test.each(Object.keys(limits))("%s", async (name) => {
    const [proxy, key] = [proxyOn(), await mint(name.includes("team") ? { teamId: team } : {})];
    await limits[name]?.(key);
    // Beside a limit that has room, and one that only counts.
    await set({ principal: keyOf(key), amount: "1000000", meter: "tokens" });
    await set({ principal: keyOf(key), amount: "0", window: "month", enforce: "count" });
    await goOn(12_345);
    await ask(proxy, key);
    const first = await ask(proxy, key);

    for (const ms of [0, 400, 499]) {
      await goOn(ms);
      expect(await ask(proxy, key)).toEqual(await told(async () => admitAttempt(clocked.db, await requestOf(clocked.db, key.row.token))));
    }
    expect([first, proxy.refused.slice(-3)]).toEqual([isRefused, ["own", "own", "own"]]);
  });
});

describe("room is room at once, where it comes from", () => {
  test("a request in flight that ends: what only reservations refuse is not remembered", async () => {
    const [proxy, key] = [proxyOn(), await mint()];
    await set({ principal: userOf(key), amount: "2" });
    expect(await ask(proxy, key)).toBe("admitted");
    const inFlight = await admitAttempt(clocked.db, await requestOf(clocked.db, key.row.token));
    expect([await ask(proxy, key), await ask(proxy, key)]).toEqual([
      expect.objectContaining({ code: "rate_limited" }),
      expect.objectContaining({ code: "rate_limited" }),
    ]);

    await settleAttempt(clocked.db, inFlight, outcomeOf("0", { status: "failure" }));
    expect([await ask(proxy, key), proxy.refused]).toEqual(["admitted", []]);
  });

  test("a window that ends", async () => {
    const [proxy, key] = [proxyOn(), await mint()];
    await set({ principal: userOf(key), amount: "1", window: "minute" });
    await goOn(59_500);
    await ask(proxy, key);
    expect(await ask(proxy, key)).toEqual(isRefused);
    await goOn(498);
    expect([await ask(proxy, key), proxy.refused]).toEqual([isRefused, ["own"]]);

    await goOn(2);
    expect(await ask(proxy, key)).toBe("admitted");
  });

  test("a smaller request, for which too little was left before", async () => {
    const [proxy, key] = [proxyOn(), await mint()];
    await set({ principal: userOf(key), amount: "0.002", meter: "usd" });
    await ask(proxy, key);

    expect(await ask(proxy, key, { minimumUsd: "0.0015" })).toEqual(isRefused);
    expect([await ask(proxy, key, { minimumUsd: "0.001" }), proxy.refused]).toEqual(["admitted", []]);
  });

  test("an edit of key or team, which authentication reads", async () => {
    const [proxy, key] = [proxyOn(), await mint({ maxBudgetUsd: "0.001" })];
    await ask(proxy, key);
    expect([await ask(proxy, key), await ask(proxy, key), proxy.refused]).toEqual([isRefused, isRefused, ["own"]]);

    await changeKey(clocked.db, key.row.token, { maxBudgetUsd: "1" });
    expect(await ask(proxy, key)).toBe("admitted");
    await changeKey(clocked.db, key.row.token, { blocked: true });
    await expect(ask(proxy, key)).rejects.toMatchObject({ code: "blocked_api_key" });
  });

  test("a key that is regenerated with another budget, for both of its secrets", async () => {
    const [proxy, former] = [proxyOn(), await mint({ maxBudgetUsd: "0.001" })];
    await ask(proxy, former);
    expect([await ask(proxy, former), await ask(proxy, former), proxy.refused]).toEqual([isRefused, isRefused, ["own"]]);

    const renewed = await regenerateKey(clocked.db, former.key, { fields: { maxBudgetUsd: "1" }, grace: "1 hour" });
    expect([await ask(proxy, former), await ask(proxy, renewed)]).toEqual(["admitted", "admitted"]);
  });

  test("an edit of a limit through this process", async () => {
    const [proxy, key] = [proxyOn(), await mint()];
    await set({ principal: userOf(key), amount: "1" });
    await ask(proxy, key);
    expect([await ask(proxy, key), await ask(proxy, key), proxy.refused]).toEqual([isRefused, isRefused, ["own"]]);

    await goOn(1);
    await set({ principal: userOf(key), amount: "2" });
    proxy.memory.forgetAll();
    await goOn(1);
    expect([await ask(proxy, key), await ask(proxy, key)]).toEqual(["admitted", isRefused]);
  });
});

describe("room is room less than a second later, where nobody here can hear of it:", () => {
  const edits: Readonly<Record<string, (key: MintedKey) => Promise<unknown>>> = {
    "a limit that is raised": (key) => set({ principal: userOf(key), amount: "5" }),
    "a limit that only counts from now on": (key) => set({ principal: userOf(key), amount: "1", enforce: "count" }),
    "a limit that is taken away": (key) => sql`delete from limits where principal_id = ${key.row.user_id}`.execute(clocked.db),
    "a budget that begins anew": async (key) => {
      await sql`update limits set amount = 100 where principal_id = ${key.row.user_id}`.execute(clocked.db);
      await resetDueBudgets(clocked.db);
    },
    "a correction that gives a place back": (key) =>
      sql`update limit_counters set used = 0 where principal_id = ${key.row.user_id}`.execute(clocked.db),
  };
  const BUDGET = { maxBudgetUsd: "0.001", budgetDuration: "30d" } as const;
  test.each(Object.keys(edits))("%s", async (name) => {
    const isBudget = name.includes("budget");
    const proxy = proxyOn();
    const key = await mint(isBudget ? { ...BUDGET, budgetResetAt: new Date(NOON_MS + clock.ms + 20_000) } : {});
    await set({ principal: userOf(key), amount: isBudget ? "100" : "1" });
    await ask(proxy, key);
    if (isBudget) await goOn(30_000);
    expect([await ask(proxy, key), await ask(proxy, key), proxy.refused]).toEqual([isRefused, isRefused, ["own"]]);

    await edits[name]?.(key);
    await goOn(BELIEVED_MS);
    expect(await ask(proxy, key)).toBe("admitted");
  });
});

/** Used up, as the first proxy found a moment ago. */
async function exhausted(board: Board): Promise<{ readonly one: Proxy; readonly other: Proxy; readonly key: MintedKey }> {
  const [one, other, key] = [proxyOn(board), proxyOn(board), await mint()];
  await set({ principal: userOf(key), amount: "1" });
  await ask(one, key);
  expect(await ask(one, key)).toEqual(isRefused);
  return { one, other, key };
}

/** Whether the proxy refuses the key by what another one found. */
async function heard(proxy: Proxy, key: MintedKey): Promise<boolean> {
  proxy.memory.lookAhead(key.row.token);
  // As long as the board takes.
  await new Promise((done) => setImmediate(done));
  const before = proxy.refused.length;
  expect(await ask(proxy, key)).toEqual(isRefused);
  return proxy.refused.slice(before).includes("shared");
}

describe("what another proxy found", () => {
  test("is refused here without an admission, in the same words", async () => {
    const { one, other, key } = await exhausted(new Board());
    other.memory.noteClock(new Date(NOON_MS + clock.ms), clock.ms);
    await goOn(300);

    expect(await heard(other, key)).toBe(true);
    expect(await ask(other, key)).toEqual(await ask(one, key));
  });

  test("of a key that was regenerated is asked for by what is shown, and found", async () => {
    const { one, other, key: former } = await exhausted(new Board());
    const renewed = await regenerateKey(clocked.db, former.key, { fields: {}, grace: null });
    other.memory.noteClock(new Date(NOON_MS + clock.ms), clock.ms);
    expect(await ask(one, renewed)).toEqual(isRefused);
    await goOn(300);

    expect(await heard(other, renewed)).toBe(true);
    expect(await ask(other, renewed)).toEqual(await ask(one, renewed));
  });

  test.each<readonly [string, (finding: Finding) => Finding]>([
    ["as old as it may be", (finding) => ({ ...finding, storeMs: finding.storeMs - BELIEVED_MS })],
    ["from the future", (finding) => ({ ...finding, storeMs: finding.storeMs + 301 + 2 })],
    ["of a key that was edited since", (finding) => ({ ...finding, callerState: "0".repeat(64) })],
    ["of another model", (finding) => ({ ...finding, model: "another" })],
    ["in which nothing is used up", (finding) => ({ ...finding, limits: finding.limits.map((limit) => ({ ...limit, used: "0" })) })],
  ])("is not believed where it is %s", async (_, change) => {
    const board = new Board();
    const { other, key } = await exhausted(board);
    for (const [keyHash, finding] of board.findings) board.findings.set(keyHash, change(finding));
    expect([...board.findings.keys()]).toEqual([key.row.token]);
    other.memory.noteClock(new Date(NOON_MS + clock.ms), clock.ms);
    await goOn(300);

    expect(await heard(other, key)).toBe(false);
  });

  test("is not believed while the store's clock is not known, or was read too long ago", async () => {
    const { one, other, key } = await exhausted(new Board());
    expect(await heard(other, key)).toBe(false);
    await goOn(60_001);
    expect(await ask(one, key)).toEqual(isRefused);
    expect(await heard(other, key)).toBe(false);
  });

  test("before an edit that was made here is not believed", async () => {
    const { other, key } = await exhausted(new Board());
    other.memory.noteClock(new Date(NOON_MS + clock.ms), clock.ms);
    await goOn(5);
    other.memory.forgetAll();
    expect(await heard(other, key)).toBe(false);
  });

  test("and says late, or never, holds nobody up", async () => {
    const board = new Board();
    const { other, key } = await exhausted(board);
    const late = Promise.withResolvers<Finding | undefined>();
    board.find = () => late.promise;
    other.memory.noteClock(new Date(NOON_MS + clock.ms), clock.ms);
    other.memory.lookAhead(key.row.token);
    other.memory.lookAhead(key.row.token);
    await set({ principal: userOf(key), amount: "2" });

    expect(await ask(other, key)).toBe("admitted");
    await goOn(BELIEVED_MS);
    late.resolve(board.findings.get(key.row.token));
    await set({ principal: userOf(key), amount: "3" });
    expect([await ask(other, key), other.refused]).toEqual(["admitted", []]);
  });
});

test("two proxies that find out at once what a key may: neither admits more than there is", async () => {
  const board = new Board();
  const [one, other, key] = [proxyOn(board), proxyOn(board), await mint()];
  await set({ principal: userOf(key), amount: "10" });
  const answers = await Promise.all(Array.from({ length: 60 }, async (_, index) => ask(index % 2 === 0 ? one : other, key)));

  expect(answers.filter((answer) => answer === "admitted").length).toBeLessThanOrEqual(10);
  await until(async () => (await ask(one, key)) !== "admitted" && (await ask(other, key)) !== "admitted");
  const { rows } = await sql<{ requests: number }>`
    select count(*)::integer as requests from "LiteLLM_SpendLogs" where api_key = ${key.row.token}`.execute(clocked.db);
  expect(rows[0]?.requests).toBe(10);
});

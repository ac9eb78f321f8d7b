import { randomUUID } from "node:crypto";
import { type ClockedClient, openClockedClient } from "@proliferate/db/test/test-clock";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf, type TestRequest } from "../../test/test-requests.ts";
import { changeKey, type MintedKey, mintKey } from "../keys/keys.ts";
import type { Principal } from "../principals/principal.ts";
import { admitAttempt } from "../requests/admit.ts";
import { resetDueBudgets } from "../requests/budget-reset.ts";
import { type AdmittedAttempt, checkpointAttempts } from "../requests/db.ts";
import { settleAttempt } from "../requests/settle.ts";
import { deleteEndedCounters } from "./counters-db.ts";
import { deleteLimit, upsertLimit } from "./limits-db.ts";

/** What limits promise where time does not simply go on: as the README of this folder states it, by the database's clock. */

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

const DAY_MS = 86_400_000;
const BEFORE_MIDNIGHT = "2026-11-27T23:59:58Z";
const AFTER_MIDNIGHT = "2026-11-28T00:00:30Z";

const mint = (fields: Parameters<typeof mintKey>[1] = {}) => mintKey(clocked.db, { userId: `user-${randomUUID()}`, ...fields });
const userOf = ({ row }: MintedKey): Principal => ({ kind: "user", id: row.user_id ?? "" });
const admit = async ({ row }: MintedKey, asked: TestRequest = {}): Promise<AdmittedAttempt> =>
  admitAttempt(clocked.db, await requestOf(clocked.db, row.token, asked));
const settle = (attempt: AdmittedAttempt, usd = "0.001") => settleAttempt(clocked.db, attempt, outcomeOf(usd));
const set = (principal: Principal, meter: string, window: string, amount: string) =>
  upsertLimit(clocked.db, { principal, meter, window, amount, model: "", enforce: "refuse" });

/** Window, start in UTC, used and reserved of each counter of a meter. */
async function counters({ kind, id }: Principal, meter: string): Promise<readonly string[]> {
  const { rows } = await sql<{ counter: string }>`
    select format('%s from %s: %s and %s', limit_window, window_start, trim_scale(used), trim_scale(reserved)) as counter from limit_counters
     where principal_kind = ${kind} and principal_id = ${id} and meter = ${meter} order by limit_window, window_start`.execute(clocked.db);
  return rows.map(({ counter }) => counter);
}

describe("a stream across midnight", () => {
  test("counts in the day in which it was admitted, and takes nothing of the next", async () => {
    await clocked.setClock(BEFORE_MIDNIGHT);
    const key = await mint();
    await set(userOf(key), "tokens", "day", "30");
    await set(userOf(key), "parallel", "total", "2");
    const stream = await admit(key);
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_reserved" });

    await clocked.setClock(AFTER_MIDNIGHT);
    const checkpoint = { usage: { inputTokens: 7 }, providerResponseId: null, firstByteAt: null };
    await checkpointAttempts(clocked.db, [{ attemptId: stream.attempt_id, checkpoint }]);
    const next = await admit(key);
    // What runs at one time is no matter of days.
    await expect(admit(key)).rejects.toMatchObject({ code: "rate_limited" });
    expect(await counters(userOf(key), "tokens")).toEqual([
      "day from 2026-11-27 00:00:00+00: 0 and 30",
      "day from 2026-11-28 00:00:00+00: 0 and 30",
    ]);
    await settle(stream);

    expect(await counters(userOf(key), "tokens")).toEqual([
      "day from 2026-11-27 00:00:00+00: 12 and 0",
      "day from 2026-11-28 00:00:00+00: 0 and 30",
    ]);
    await settle(next);
  });

  test("of a key whose max_budget begins anew at midnight holds what it reserved, and counts where it ends", async () => {
    await clocked.setClock(BEFORE_MIDNIGHT);
    const key = await mint({ maxBudgetUsd: "0.012", budgetDuration: "1d", budgetResetAt: new Date("2026-11-28T00:00:00Z") });
    const principal = { kind: "key", id: key.row.token } as const;
    await settle(await admit(key), "0.002");
    const stream = await admit(key);

    await clocked.setClock(AFTER_MIDNIGHT);
    await resetDueBudgets(clocked.db);
    expect(await counters(principal, "usd")).toEqual(["total from -infinity: 0 and 0.01"]);
    await settle(stream, "0.009");

    expect(await counters(principal, "usd")).toEqual(["total from -infinity: 0.009 and 0"]);
  });
});

describe("a clock that jumps", () => {
  test("ahead: the window of then is open, and what runs is settled in its own", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint();
    await set(userOf(key), "requests", "day", "1");
    const attempt = await admit(key);
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });

    await clocked.setClock("2026-12-24T10:00:00Z");
    await settle(await admit(key));
    await settle(attempt);

    expect(await counters(userOf(key), "requests")).toEqual([
      "day from 2026-11-27 00:00:00+00: 1 and 0",
      "day from 2026-12-24 00:00:00+00: 1 and 0",
    ]);
  });

  test("back: the window of then goes on where it stood, and no window ever has more than its amount", async () => {
    await clocked.setClock("2026-11-28T00:00:01Z");
    const key = await mint();
    await set(userOf(key), "requests", "day", "2");
    await settle(await admit(key));
    await clocked.setClock("2026-11-27T23:59:59Z");
    await settle(await admit(key));
    await clocked.setClock("2026-11-28T00:00:00Z");
    await settle(await admit(key));
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });
    await clocked.setClock("2026-11-27T23:59:59Z");
    await settle(await admit(key));
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });

    expect(await counters(userOf(key), "requests")).toEqual([
      "day from 2026-11-27 00:00:00+00: 2 and 0",
      "day from 2026-11-28 00:00:00+00: 2 and 0",
    ]);
  });

  test("back by more than a day, past what was put away meanwhile: that window begins at 0, and nothing that runs is lost", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint();
    await set(userOf(key), "requests", "hour", "2");
    await settle(await admit(key));
    await clocked.setClock("2026-11-27T11:00:00Z");
    const attempt = await admit(key);
    await clocked.setClock("2026-12-27T10:00:00Z");
    // As the worker does it.
    await deleteEndedCounters(clocked.db, { olderThanMs: DAY_MS, limit: 1_000 });
    await clocked.setClock("2026-11-27T10:30:00Z");

    await settle(await admit(key));
    await settle(attempt);

    expect(await counters(userOf(key), "requests")).toEqual([
      "hour from 2026-11-27 10:00:00+00: 1 and 0",
      "hour from 2026-11-27 11:00:00+00: 1 and 0",
    ]);
  });

  test("ahead and back again: a max_budget begins anew once, and not again before the window that was then open ends", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint({ maxBudgetUsd: "0.002", budgetDuration: "1d", budgetResetAt: new Date("2026-11-28T00:00:00Z") });
    await settle(await admit(key), "0.002");
    await clocked.setClock("2026-11-30T10:00:00Z");
    await resetDueBudgets(clocked.db);
    await settle(await admit(key), "0.002");

    await clocked.setClock("2026-11-28T10:00:00Z");
    await resetDueBudgets(clocked.db);
    await expect(admit(key)).rejects.toMatchObject({ code: "budget_exceeded" });
    await clocked.setClock("2026-12-01T00:00:00Z");
    await resetDueBudgets(clocked.db);

    await expect(admit(key)).resolves.toBeDefined();
  });
});

describe("a window that is edited while it runs", () => {
  test("another window is another limit: it begins at 0, and what ran before is settled where it was admitted", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint();
    await set(userOf(key), "requests", "day", "2");
    await settle(await admit(key));
    const attempt = await admit(key);

    await deleteLimit(clocked.db, { principal: userOf(key), meter: "requests", window: "day", model: "" });
    await set(userOf(key), "requests", "hour", "1");
    await settle(await admit(key));
    await settle(attempt);
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded", details: { window: "hour" } });

    expect(await counters(userOf(key), "requests")).toEqual([
      "day from 2026-11-27 00:00:00+00: 2 and 0",
      "hour from 2026-11-27 10:00:00+00: 1 and 0",
    ]);
  });

  test("a limit that is taken away and set again goes on with what its window had counted", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint();
    await set(userOf(key), "requests", "day", "2");
    await settle(await admit(key));
    await deleteLimit(clocked.db, { principal: userOf(key), meter: "requests", window: "day", model: "" });
    await settle(await admit(key));
    await set(userOf(key), "requests", "day", "2");

    await settle(await admit(key));
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });
  });

  test("a max_budget that gets its first window begins at 0; one that gets another keeps what it spent", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint({ maxBudgetUsd: "1" });
    const principal = { kind: "key", id: key.row.token } as const;
    await settle(await admit(key), "0.25");
    await changeKey(clocked.db, key.key, { budgetDuration: "1d", budgetResetAt: new Date("2026-11-28T00:00:00Z") });
    expect(await counters(principal, "usd")).toEqual(["total from -infinity: 0 and 0"]);
    const attempt = await admit(key);
    await settle(await admit(key), "0.5");

    await changeKey(clocked.db, key.key, { budgetDuration: "7d", budgetResetAt: new Date("2026-11-30T00:00:00Z") });
    await clocked.setClock(AFTER_MIDNIGHT);
    await resetDueBudgets(clocked.db);

    expect(await counters(principal, "usd")).toEqual(["total from -infinity: 0.5 and 0.01"]);
    await settle(attempt, "0.005");
  });
});

describe("a limit that is lowered under what is spent", () => {
  test.each([
    ["requests", "1", "limit_exceeded", "2 and 0"],
    ["tokens", "5", "limit_exceeded", "24 and 0"],
    ["usd", "0.0015", "budget_exceeded", "0.004 and 0"],
  ])("%s: refuses from the next request on; what runs ends as it was admitted; raised again, the rest is there", async (...edge) => {
    const [meter, lowered, code, counted] = edge;
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint();
    await set(userOf(key), meter, "day", "1000");
    const attempt = await admit(key);
    await settle(await admit(key), "0.002");

    await set(userOf(key), meter, "day", lowered);
    await expect(admit(key)).rejects.toMatchObject({ code });
    await settle(attempt, "0.002");
    expect(await counters(userOf(key), meter)).toEqual([`day from 2026-11-27 00:00:00+00: ${counted}`]);
    await expect(admit(key)).rejects.toMatchObject({ code });
    await set(userOf(key), meter, "day", "1000");

    await expect(admit(key)).resolves.toBeDefined();
  });

  test("requests at a time: nobody new until fewer run", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint();
    await set(userOf(key), "parallel", "total", "3");
    const [first, second, third] = [await admit(key), await admit(key), await admit(key)];
    await set(userOf(key), "parallel", "total", "1");

    await settle(first);
    await settle(second);
    await expect(admit(key)).rejects.toMatchObject({ code: "rate_limited" });
    await settle(third);

    await expect(admit(key)).resolves.toBeDefined();
  });

  test("a max_budget under what is spent: refused, and the counter keeps what was spent", async () => {
    await clocked.setClock("2026-11-27T10:00:00Z");
    const key = await mint({ maxBudgetUsd: "1" });
    await settle(await admit(key), "0.25");
    await changeKey(clocked.db, key.key, { maxBudgetUsd: "0.1" });

    await expect(admit(key)).rejects.toMatchObject({ code: "budget_exceeded" });
    expect(await counters({ kind: "key", id: key.row.token }, "usd")).toEqual(["total from -infinity: 0.25 and 0"]);
  });
});

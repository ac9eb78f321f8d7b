import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import type { DecimalText } from "@proliferate/shared/money";
import fc from "fast-check";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf, type TestRequest } from "../../test/test-requests.ts";
import { findCaller } from "../keys/callers-db.ts";
import { type MintedKey, mintKey, revokeKeys } from "../keys/keys.ts";
import { writePayer } from "../principals/payers-db.ts";
import type { Principal } from "../principals/principal.ts";
import { type AdmissionRequest, admitAttempt, requireUsable } from "../requests/admit.ts";
import { insertAttemptIfFits } from "../requests/admission-db.ts";
import type { AdmittedAttempt } from "../requests/db.ts";
import { settleAttempt } from "../requests/settle.ts";
import { insertTeam } from "../teams/db.ts";
import { deleteEndedCounters, insertMissingCounters, readLimits } from "./counters-db.ts";
import { checkLimits } from "./limit.ts";
import { deleteLimit, listLimits, MOST_LIMITS, type SetLimit, upsertLimit } from "./limits-db.ts";
import { amountsOf } from "./meters.ts";

/** The engine of limits on a real database: any meter and window, at every level of the path. */

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const request = (keyHash: string, asked: TestRequest = {}): Promise<AdmissionRequest> => requestOf(database.db, keyHash, asked);
const admit = async (key: MintedKey, asking: TestRequest = {}): Promise<AdmittedAttempt> =>
  admitAttempt(database.db, await request(key.row.token, asking));

async function newTeam(): Promise<string> {
  const teamId = `org-${randomUUID()}`;
  const none = { teamAlias: null, maxBudgetUsd: null, budgetDuration: null, budgetResetAt: null, models: [], metadata: {}, blocked: false };
  await insertTeam(database.db, { ...none, teamId, createdBy: "admin" });
  return teamId;
}
const newUser = (): string => `user-${randomUUID()}`;
const set = (principal: Principal, meter: string, window: string, amount: DecimalText, more: Partial<SetLimit> = {}) =>
  upsertLimit(database.db, { principal, meter, window, amount, model: "", enforce: "refuse", ...more });
async function counters(principal: Principal, meter: string): Promise<readonly { readonly used: string; readonly reserved: string }[]> {
  const { rows } = await sql<{ used: string; reserved: string }>`
    select trim_scale(used)::text as used, trim_scale(reserved)::text as reserved from limit_counters
     where principal_kind = ${principal.kind} and principal_id = ${principal.id} and meter = ${meter} order by limit_window, window_start`.execute(
    database.db,
  );
  return rows;
}

test("limits are said to be another's where the key has another team than was read, or is gone", async () => {
  const [teamId, otherId] = [await newTeam(), await newTeam()];
  const key = await mintKey(database.db, { teamId });
  const caller = requireUsable(await findCaller(database.db, key.row.token));
  const isChanged = async () => (await readLimits(database.db, caller, null)).isChanged;

  const seen = [await isChanged()];
  await database.db.updateTable("LiteLLM_VerificationToken").set({ team_id: otherId }).where("token", "=", key.row.token).execute();
  seen.push(await isChanged());
  await revokeKeys(database.db, [key.key], []);
  seen.push(await isChanged());

  expect(seen).toEqual([false, true, true]);
});

describe("every level of the path", () => {
  test.each(["payer", "team", "user", "key"] as const)("a limit of the %s holds, and is one for all who share it", async (kind) => {
    const [teamId, userId] = [await newTeam(), newUser()];
    const keys = await Promise.all([mintKey(database.db, { teamId, userId }), mintKey(database.db, { teamId, userId })]);
    const ids = { payer: teamId, team: teamId, user: userId, key: keys[0].row.token };
    await set({ kind, id: ids[kind] }, "requests", "month", "3");

    const results = await Promise.allSettled(
      Array.from({ length: 12 }, (_, index) => admit(keys[kind === "key" ? 0 : index % 2] as MintedKey)),
    );

    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
    const codes = results.flatMap((result) => (result.status === "rejected" ? [result.reason.code] : []));
    expect(new Set(codes)).toEqual(new Set(["limit_exceeded"]));
    expect(await counters({ kind, id: ids[kind] }, "requests")).toEqual([{ used: "0", reserved: "3" }]);
  });

  test("a limit of the payer holds for every team that it pays for, in one counter", async () => {
    const [payerId, teamId, otherId] = [await newTeam(), await newTeam(), await newTeam()];
    await writePayer(database.db, teamId, payerId);
    const keys = await Promise.all([mintKey(database.db, { teamId }), mintKey(database.db, { teamId: payerId })]);
    const stranger = await mintKey(database.db, { teamId: otherId });
    await set({ kind: "payer", id: payerId }, "requests", "day", "1");

    await admit(keys[0]);

    await expect(admit(keys[1])).rejects.toMatchObject({ code: "limit_exceeded" });
    await expect(admit(stranger)).resolves.toMatchObject({ team_id: otherId });
  });

  test("a limit that is set or taken away holds for the next request", async () => {
    const userId = newUser();
    const key = await mintKey(database.db, { userId });
    const user = { kind: "user", id: userId } as const;
    await admit(key);
    await set(user, "requests", "day", "0");
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });

    expect(await listLimits(database.db, user)).toEqual([
      { principal: user, meter: "requests", window: "day", model: "", amount: "0", enforce: "refuse" },
    ]);
    expect(await deleteLimit(database.db, { principal: user, meter: "requests", window: "day", model: "" })).toBe(true);
    expect(await deleteLimit(database.db, { principal: user, meter: "requests", window: "day", model: "" })).toBe(false);
    await expect(admit(key)).resolves.toMatchObject({ user_id: userId });
  });
});

describe("every meter", () => {
  test("200 requests at once on a limit of 10: exactly 10", async () => {
    const key = await mintKey(database.db, {});
    await set({ kind: "key", id: key.row.token }, "requests", "hour", "10");

    const results = await Promise.allSettled(Array.from({ length: 200 }, () => admit(key)));

    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(10);
  });

  test("a request that came to nothing gives its place back, one that failed and cost does not", async () => {
    const key = await mintKey(database.db, {});
    const principal = { kind: "key", id: key.row.token } as const;
    await set(principal, "requests", "hour", "10");
    await settleAttempt(database.db, await admit(key), outcomeOf("0", { status: "failure" }));
    await settleAttempt(database.db, await admit(key), outcomeOf("0.001", { status: "failure" }));

    expect(await counters(principal, "requests")).toEqual([{ used: "1", reserved: "0" }]);
  });

  test("tokens: reserved at most, settled as they came, and who comes meanwhile is told to wait", async () => {
    const key = await mintKey(database.db, {});
    const principal = { kind: "key", id: key.row.token } as const;
    await set(principal, "tokens", "day@Europe/Berlin", "35");

    const first = await admit(key);
    expect(await counters(principal, "tokens")).toEqual([{ used: "0", reserved: "30" }]);
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_reserved", retryAfterSeconds: 1 });
    await settleAttempt(database.db, first, outcomeOf("0.001"));

    expect(await counters(principal, "tokens")).toEqual([{ used: "12", reserved: "0" }]);
    await expect(admit(key, { inputTokens: 24 })).rejects.toMatchObject({
      code: "limit_exceeded",
      message: expect.stringContaining("12 of 35"),
    });
    await expect(admit(key)).resolves.toBeDefined();
  });

  test("parallel: only what runs now counts", async () => {
    const key = await mintKey(database.db, {});
    const principal = { kind: "key", id: key.row.token } as const;
    await set(principal, "parallel", "total", "2");
    const [first] = [await admit(key), await admit(key)];

    await expect(admit(key)).rejects.toMatchObject({ code: "rate_limited", retryAfterSeconds: 1 });
    await settleAttempt(database.db, first, outcomeOf("0.001"));

    await expect(admit(key)).resolves.toBeDefined();
    expect(await counters(principal, "parallel")).toEqual([{ used: "0", reserved: "2" }]);
  });

  test("usd of a user and a month counts beside the budget of the key", async () => {
    const userId = newUser();
    const key = await mintKey(database.db, { userId, maxBudgetUsd: "5" });
    await set({ kind: "user", id: userId }, "usd", "month", "0.005");
    await settleAttempt(database.db, await admit(key), outcomeOf("0.005"));

    expect(await counters({ kind: "user", id: userId }, "usd")).toEqual([{ used: "0.005", reserved: "0" }]);
    expect(await counters({ kind: "key", id: key.row.token }, "usd")).toEqual([{ used: "0.005", reserved: "0" }]);
    await expect(admit(key)).rejects.toMatchObject({
      code: "budget_exceeded",
      message: expect.stringMatching(/of the user .*begins anew at 20/),
    });
  });

  test("what is only counted refuses nobody", async () => {
    const key = await mintKey(database.db, {});
    const principal = { kind: "key", id: key.row.token } as const;
    await set(principal, "requests", "minute", "1", { enforce: "count" });
    for (let round = 0; round < 3; round += 1) await settleAttempt(database.db, await admit(key), outcomeOf("0.001"));

    const rows = await counters(principal, "requests");
    expect(rows.map(({ used }) => Number(used)).reduce((sum, used) => sum + used)).toBe(3);
  });

  test("a minute's limit says how many seconds to wait", async () => {
    const key = await mintKey(database.db, {});
    await set({ kind: "key", id: key.row.token }, "requests", "minute", "0");

    const refused = (await admit(key).catch((error: unknown) => error)) as { code: string; retryAfterSeconds: number };

    expect(refused.code).toBe("rate_limited");
    expect(refused.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect(refused.retryAfterSeconds).toBeLessThanOrEqual(60);
  });
});

test.each([
  ["total", "2026-11-27T10:20:30.400Z", "-infinity", "infinity"],
  ["minute", "2026-11-27T10:20:30.400Z", "2026-11-27T10:20:00Z", "2026-11-27T10:21:00Z"],
  ["hour", "2026-11-27T10:20:30.400Z", "2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z"],
  ["day", "2026-11-27T23:59:59.999Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"],
  ["week", "2026-11-29T23:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"],
  ["month", "2026-02-28T10:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"],
  ["day@Europe/Berlin", "2026-11-27T23:30:00Z", "2026-11-27T23:00:00Z", "2026-11-28T23:00:00Z"],
  ["day@Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
  ["day@Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
  ["month@America/New_York", "2026-11-01T03:59:59Z", "2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z"],
  ["5h", "1970-01-01T11:00:00Z", "1970-01-01T10:00:00Z", "1970-01-01T15:00:00Z"],
  ["90s", "1970-01-01T00:02:00Z", "1970-01-01T00:01:30Z", "1970-01-01T00:03:00Z"],
  ["10m", "2026-11-27T10:29:59.999Z", "2026-11-27T10:20:00Z", "2026-11-27T10:30:00Z"],
  ["7d", "1970-01-09T00:00:00Z", "1970-01-08T00:00:00Z", "1970-01-15T00:00:00Z"],
])("a window %s that is open at %s began at %s and ends at %s", async (window, at, start, end) => {
  const { rows } = await sql<{ start: boolean; end: boolean }>`
    select s = ${start}::timestamptz as start, limit_window_end(${window}, s) = ${end}::timestamptz as "end" from limit_window_start(${window}, ${at}::timestamptz) s`.execute(
    database.db,
  );
  expect(rows).toEqual([{ start: true, end: true }]);
});

test("a time zone that nobody knows is refused when the limit is set", async () => {
  await expect(set({ kind: "user", id: "u" }, "requests", "day@Mars/Olympus", "1")).rejects.toMatchObject({ code: "22023" });
});

test("a limit of a meter that this version does not know admits nobody if it refuses, and everybody if it only counts", async () => {
  const key = await mintKey(database.db, { userId: newUser() });
  const principal = { kind: "key", id: key.row.token } as const;
  await set(principal, "pictures", "day", "5", { enforce: "count" });
  await expect(admit(key)).resolves.toMatchObject({ reservations: [{ meter: "pictures", amount: "0" }] });

  await set(principal, "pictures", "day", "5");

  const asking = await request(key.row.token, {});
  await expect(admitAttempt(database.db, asking)).rejects.toMatchObject({ code: "limit_exceeded", details: { meter: "pictures" } });
});

test("one principal has a bounded number of limits, however many are set at once; those that it has can be changed", async () => {
  const principal = { kind: "user", id: newUser() } as const;
  await Promise.all(Array.from({ length: MOST_LIMITS - 2 }, (_, index) => set(principal, "requests", "day", "1", { model: `m${index}` })));

  const results = await Promise.all(Array.from({ length: 8 }, (_, index) => set(principal, "tokens", "day", "1", { model: `m${index}` })));

  expect(results.filter(Boolean)).toHaveLength(2);
  expect(await listLimits(database.db, principal)).toHaveLength(MOST_LIMITS);
  expect(await set(principal, "requests", "day", "7", { model: "m0" })).toBe(true);
});

test("a request belongs to the window in which it was admitted, and the counters of windows long over are deleted", async () => {
  const key = await mintKey(database.db, {});
  const principal = { kind: "key", id: key.row.token } as const;
  await set(principal, "requests", "1s", "1000");
  const attempt = await admit(key);
  const [held] = attempt.reservations ?? [];
  const heldBy = async (): Promise<unknown> =>
    (
      await sql`select window_start::text as start, trim_scale(used)::text as used from limit_counters
        where principal_id = ${key.row.token} and meter = 'requests' and window_start = ${held?.start}::timestamptz`.execute(database.db)
    ).rows;
  // Until the second is over.
  await expect
    .poll(async () => (await readLimits(database.db, requireUsable(await findCaller(database.db, key.row.token)), null)).isMissing)
    .toBe(true);
  await deleteEndedCounters(database.db, { olderThanMs: 0, limit: 100 });
  expect(await heldBy()).toMatchObject([{ used: "0" }]);

  await settleAttempt(database.db, attempt, outcomeOf("0.001"));

  expect(await heldBy()).toEqual([{ start: held?.start, used: "1" }]);
  await deleteEndedCounters(database.db, { olderThanMs: 3_600_000, limit: 100 });
  expect(await heldBy()).toEqual([{ start: held?.start, used: "1" }]);
  // Those of other tests may be deleted with it: a day may have ended, too.
  expect(await deleteEndedCounters(database.db, { olderThanMs: 0, limit: 100 })).toBeGreaterThan(0);
  expect(await counters(principal, "requests")).toEqual([]);
});

test("what another process settled at an estimate is corrected in every limit", async () => {
  const userId = newUser();
  const key = await mintKey(database.db, { userId });
  const user = { kind: "user", id: userId } as const;
  await set(user, "usd", "month", "10");
  await set(user, "tokens", "month", "1000");
  const attempt = await admit(key);
  const estimate = reportOf({ ...NO_USAGE, inputTokens: 10, outputTokens: 20 });
  await settleAttempt(database.db, attempt, outcomeOf("0.0035", { recovered: true, estimated: true, report: estimate }));
  expect(await counters(user, "tokens")).toEqual([{ used: "30", reserved: "0" }]);

  expect(await settleAttempt(database.db, attempt, outcomeOf("0.002"))).toBe("corrected");

  expect([await counters(user, "usd"), await counters(user, "tokens")]).toEqual([
    [{ used: "0.002", reserved: "0" }],
    [{ used: "12", reserved: "0" }],
  ]);
});

test("a request that came to nothing after all takes no place, though another process had settled it at an estimate", async () => {
  const key = await mintKey(database.db, {});
  const principal = { kind: "key", id: key.row.token } as const;
  await set(principal, "requests", "month", "10");
  const [nothing, real] = [await admit(key), await admit(key)];
  await settleAttempt(database.db, nothing, outcomeOf("0.0035", { recovered: true, estimated: true, status: "failure" }));
  await settleAttempt(database.db, real, outcomeOf("0", { recovered: true, estimated: true, status: "failure" }));
  expect(await counters(principal, "requests")).toEqual([{ used: "1", reserved: "0" }]);

  expect(await settleAttempt(database.db, nothing, outcomeOf("0", { status: "failure", report: reportOf(NO_USAGE) }))).toBe("corrected");
  expect(await counters(principal, "requests")).toEqual([{ used: "0", reserved: "0" }]);
  expect(await settleAttempt(database.db, real, outcomeOf("0.002"))).toBe("corrected");

  expect(await counters(principal, "requests")).toEqual([{ used: "1", reserved: "0" }]);
});

test("with a key its limits and counters go, and what it still holds is given back by its attempts", async () => {
  const userId = newUser();
  const key = await mintKey(database.db, { userId });
  await set({ kind: "key", id: key.row.token }, "requests", "day", "5");
  await set({ kind: "user", id: userId }, "requests", "day", "5");
  const attempt = await admit(key);
  await revokeKeys(database.db, [key.key], []);

  expect(await listLimits(database.db, { kind: "key", id: key.row.token })).toEqual([]);
  await settleAttempt(database.db, attempt, outcomeOf("0.001"));

  expect(await counters({ kind: "user", id: userId }, "requests")).toEqual([{ used: "1", reserved: "0" }]);
});

test("a process of an older version reads and moves the same budgets under their old name", async () => {
  const teamId = await newTeam();
  const key = await mintKey(database.db, { teamId, maxBudgetUsd: "1" });
  const { db } = database;
  // As it made, locked, moved and deleted them.
  await sql`insert into budget_counters (scope, scope_id, spend_usd) values ('key', ${key.row.token}, 0.25), ('team', ${teamId}, 0) on conflict do nothing`.execute(
    db,
  );
  await set({ kind: "key", id: key.row.token }, "requests", "day", "5");
  const moved = await sql`
    with locked as (select c.scope, c.scope_id from budget_counters c where (c.scope = 'key' and c.scope_id = ${key.row.token}) or (c.scope = 'team' and c.scope_id = ${teamId}) order by c.scope, c.scope_id for update of c)
    update budget_counters c set spend_usd = c.spend_usd + 0.5, reserved_usd = 0 from locked l where c.scope = l.scope and c.scope_id = l.scope_id`.execute(
    db,
  );
  expect(moved.numAffectedRows).toBe(2n);
  await sql`update "LiteLLM_VerificationToken" set spend = 0.75 where token = ${key.row.token}`.execute(db);

  const attempt = await admit(key);
  // An attempt of theirs says nothing of other limits.
  await sql`update request_attempts set reservations = null where attempt_id = ${attempt.attempt_id}`.execute(db);
  await settleAttempt(db, attempt, outcomeOf("0.001"));

  expect(await counters({ kind: "key", id: key.row.token }, "usd")).toEqual([{ used: "0.751", reserved: "0" }]);
});

test("the one statement admits exactly what the rule lets through, whatever limits stand on the path", async () => {
  const [teamId, userId] = [await newTeam(), newUser()];
  const key = await mintKey(database.db, { teamId, userId });
  const caller = requireUsable(await findCaller(database.db, key.row.token));
  const ids = { payer: teamId, team: teamId, user: userId, key: key.row.token };
  // Small numbers, so that amounts often meet exactly.
  const small = fc.integer({ min: 0, max: 6 }).map(String);
  const limit = fc.record({
    kind: fc.constantFrom("payer" as const, "team" as const, "user" as const, "key" as const),
    // The last is one that no version knows yet.
    meter: fc.constantFrom("usd", "requests", "tokens", "parallel", "pictures"),
    window: fc.constantFrom("day", "month@Asia/Tokyo", "5h"),
    model: fc.constantFrom("", "claude-haiku-4-5", "another-model"),
    amount: small,
    used: small,
    reserved: small,
    enforce: fc.constantFrom("refuse" as const, "refuse" as const, "count" as const),
  });
  const askings = fc.record({
    worstCaseUsd: small,
    inputTokens: fc.integer({ min: 0, max: 4 }),
    outputTokens: fc.integer({ min: 0, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(limit, { maxLength: 4 }), askings, async (limits, asked) => {
      await sql`delete from limits`.execute(database.db);
      await sql`delete from limit_counters where limit_window <> 'total'`.execute(database.db);
      for (const { kind, meter, window, model, amount, enforce } of limits)
        await set({ kind, id: ids[kind] }, meter, window, amount, { enforce, model });
      await insertMissingCounters(database.db, caller, "claude-haiku-4-5");
      for (const { kind, meter, window, model, used, reserved } of limits)
        await sql`update limit_counters set used = ${used}, reserved = ${reserved} where principal_kind = ${kind} and principal_id = ${ids[kind]} and meter = ${meter} and limit_window = ${window} and model = ${model}`.execute(
          database.db,
        );
      const { metered, attempt } = await request(key.row.token, asked);
      const amounts = amountsOf(metered);
      const before = await readLimits(database.db, caller, "claude-haiku-4-5");
      const asking = requireUsable(await findCaller(database.db, key.row.token));
      const verdict = checkLimits(before.limits, amounts);

      const row = { ...attempt, key_hash: key.row.token, team_id: teamId, user_id: userId, key_alias: null };
      const options = { asked: amounts, runningMs: 0 };
      // The short statement, for those who have no limits, admits nobody who has.
      const short = limits.length > 0 ? await insertAttemptIfFits(database.db, row, asking, { ...options, isLimited: false }) : undefined;
      expect(short).toBeUndefined();
      const admitted = await insertAttemptIfFits(database.db, row, asking, { ...options, isLimited: true });

      expect(admitted !== undefined).toBe(verdict.kind === "fits");
      if (admitted) await settleAttempt(database.db, admitted, outcomeOf("0", { status: "failure", report: reportOf(NO_USAGE) }));
      // All or none, and all of it given back.
      expect((await readLimits(database.db, caller, "claude-haiku-4-5")).limits.map(({ reserved }) => Number(reserved))).toEqual(
        before.limits.map(({ reserved }) => Number(reserved)),
      );
    }),
    { numRuns: 60 },
  );
});

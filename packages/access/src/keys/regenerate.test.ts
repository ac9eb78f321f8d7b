import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { upsertLimit } from "../limits/limits-db.ts";
import { resetBudgetsDueAt } from "../requests/budget-reset.ts";
import { admitAttempt } from "../requests/admit.ts";
import { settleAttempt } from "../requests/settle.ts";
import { settleSpooledAttempt } from "../requests/spooled.ts";
import { findCaller, listUsableKeys } from "./callers-db.ts";
import { deleteExpiredKeys, type KeyFields } from "./db.ts";
import { changeKey, mintKey, requireKey, revokeKeys } from "./keys.ts";
import { findKeyNames } from "./list-db.ts";
import { regenerateKey } from "./regenerate.ts";
import { hashKey } from "./virtual-key.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const NOTHING = { fields: {}, grace: null } as const;
const newKeyText = (): string => `sk-chosen-${randomUUID()}`;

/** A key of its own, by its id and its first secret. */
async function newKey(fields: KeyFields = {}): Promise<{ readonly key: string; readonly id: string }> {
  const { key, row } = await mintKey(database.db, fields);
  return { key, id: row.token };
}

const admitBy = async (key: string, asked = {}) => admitAttempt(database.db, await requestOf(database.db, hashKey(key), asked));

/** How many connections of this database wait for a lock. */
const waiting = async (): Promise<number> =>
  (await sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`.execute(database.db)).rows
    .length;

async function budgetCounterOf(id: string): Promise<{ readonly used: number; readonly reserved: number } | undefined> {
  const { rows } = await sql<{ used: string; reserved: string }>`
    select used, reserved from limit_counters where principal_kind = 'key' and principal_id = ${id} and meter = 'usd'`.execute(database.db);
  return rows[0] && { used: Number(rows[0].used), reserved: Number(rows[0].reserved) };
}

test("the former key is refused at once, and the new one has its budget, limits, alias and spend", async () => {
  const { key, id } = await newKey({ maxBudgetUsd: "0.02", keyAlias: "renewed", userId: "u" });
  await settleAttempt(database.db, await admitBy(key), outcomeOf("0.015"));

  const renewed = await regenerateKey(database.db, key, NOTHING);

  await expect(admitBy(key)).rejects.toMatchObject({ code: "invalid_api_key" });
  expect(renewed.row).toMatchObject({
    token: hashKey(renewed.key),
    key_alias: "renewed",
    user_id: "u",
    max_budget: "0.02",
    spend: "0.015",
  });
  expect(await findCaller(database.db, hashKey(renewed.key))).toMatchObject({ keyHash: id, token: hashKey(renewed.key) });
  await expect(admitBy(renewed.key, { minimumUsd: "0.006" })).rejects.toMatchObject({ code: "budget_exceeded" });
});

describe.each([
  ["a budget alone", false],
  ["a limit beside its budget", true],
])("of a key with %s", (_, hasLimit) => {
  const limited = async (): Promise<{ readonly key: string; readonly id: string }> => {
    const made = await newKey({ maxBudgetUsd: "1" });
    const limit = { meter: "requests", window: "total", model: "", amount: "3", enforce: "refuse" } as const;
    if (hasLimit) await upsertLimit(database.db, { ...limit, principal: { kind: "key", id: made.id } });
    return made;
  };

  test("both secrets draw on one budget and one limit while the grace lasts, and requests in flight are settled on the key", async () => {
    const { key, id } = await limited();
    const before = await admitBy(key);
    const renewed = await regenerateKey(database.db, key, { fields: {}, grace: "1 day" });
    const [byFormer, byNew] = [await admitBy(key), await admitBy(renewed.key)];

    expect(await budgetCounterOf(id)).toEqual({ used: 0, reserved: 0.03 });
    for (const attempt of [before, byFormer, byNew]) expect(await settleAttempt(database.db, attempt, outcomeOf("0.002"))).toBe("settled");

    expect(await budgetCounterOf(id)).toEqual({ used: 0.006, reserved: 0 });
    expect(Number((await requireKey(database.db, renewed.key)).spend)).toBeCloseTo(0.006, 12);
    const rows = await database.db.selectFrom("LiteLLM_SpendLogs").select("spend").where("api_key", "=", id).execute();
    expect(rows).toHaveLength(3);
    const fourth = await admitBy(key).then(
      () => "admitted",
      ({ code }: { readonly code: string }) => code,
    );
    expect(fourth).toBe(hasLimit ? "limit_exceeded" : "admitted");
  });

  test("a settlement that waited for the regeneration counts on the key as it is then, and so does its correction", async () => {
    const { db } = database;
    const { key, id } = await limited();
    const attempt = await admitBy(key);
    const running = await db.transaction().execute(async (tx) => {
      await sql`select from limit_counters where principal_kind = 'key' and principal_id = ${id} for update`.execute(tx);
      const regenerated = regenerateKey(db, key, NOTHING);
      await expect.poll(waiting).toBe(1);
      const settled = settleAttempt(db, attempt, outcomeOf("0.002", { recovered: true, estimated: true }));
      await expect.poll(waiting).toBeGreaterThan(1);
      return { regenerated, settled };
    });

    expect(await running.settled).toBe("settled");
    const { key: renewed } = await running.regenerated;
    expect(Number((await requireKey(db, renewed)).spend)).toBe(0.002);
    expect(await settleAttempt(db, attempt, outcomeOf("0.005"))).toBe("corrected");
    expect(Number((await requireKey(db, renewed)).spend)).toBe(0.005);
    expect(await budgetCounterOf(id)).toEqual({ used: 0.005, reserved: 0 });
  });

  test("what was admitted while the store was away, by the former key, is put on record of the key", async () => {
    const { key, id } = await limited();
    const { limits: _limits, ...attempt } = await admitBy(key);
    await settleAttempt(database.db, attempt, outcomeOf("0.001"));
    const renewed = await regenerateKey(database.db, key, NOTHING);

    await settleSpooledAttempt(database.db, { ...attempt, attempt_id: randomUUID() }, outcomeOf("0.002"));

    expect(await budgetCounterOf(id)).toEqual({ used: 0.003, reserved: 0 });
    expect(Number((await requireKey(database.db, renewed.key)).spend)).toBeCloseTo(0.003, 12);
  });
});

describe("the grace", () => {
  test("ends: the former key is what it was for so long, and not longer", async () => {
    const { key } = await newKey();
    await regenerateKey(database.db, key, { fields: {}, grace: "1 hour" });
    const former = await findCaller(database.db, hashKey(key));
    const leftMs = (former?.expires?.getTime() ?? 0) - Date.now();

    expect(former).toMatchObject({ shownHash: hashKey(key), expired: false });
    expect(leftMs).toBeGreaterThan(0);
    expect(leftMs).toBeLessThanOrEqual(3_600_000 + 60_000);
    await sql`update "LiteLLM_DeprecatedVerificationToken" set revoke_at = clock_timestamp() at time zone 'utc' where token = ${hashKey(key)}`.execute(
      database.db,
    );
    expect(await findCaller(database.db, hashKey(key))).toBeUndefined();
  });

  test("of each former key goes on when the key is regenerated with one again, and ends with the first without", async () => {
    const { key: first } = await newKey();
    const second = await regenerateKey(database.db, first, { fields: {}, grace: "1 hour" });
    const third = await regenerateKey(database.db, second.key, { fields: {}, grace: "1 hour" });
    const hashes = [first, second.key, third.key].map(hashKey);

    expect((await listUsableKeys(database.db, hashes)).map(({ token }) => token)).toEqual(hashes.map(() => third.row.token));
    await regenerateKey(database.db, third.key, NOTHING);
    expect(await listUsableKeys(database.db, hashes)).toEqual([]);
    expect(await findCaller(database.db, hashes[0] ?? "")).toBeUndefined();
  });

  test("ends with the key's own expiry, block and deletion", async () => {
    const { key, id } = await newKey({ life: "1 minute" });
    const renewed = await regenerateKey(database.db, key, { fields: {}, grace: "1 hour" });
    expect((await findCaller(database.db, id))?.expires).toEqual((await findCaller(database.db, renewed.row.token))?.expires);

    await changeKey(database.db, renewed.key, { blocked: true });
    expect(await findCaller(database.db, id)).toMatchObject({ blocked: true });
    expect(await revokeKeys(database.db, [id], [])).toEqual([renewed.row.token]);
    expect([await findCaller(database.db, id), await findCaller(database.db, renewed.row.token)]).toEqual([undefined, undefined]);
  });
});

describe("a chosen new key", () => {
  test("that is repeated by the former key changes nothing", async () => {
    const [{ key }, newKeyChosen] = [await newKey(), newKeyText()];
    const once = await regenerateKey(database.db, key, { ...NOTHING, newKey: newKeyChosen });
    const again = await regenerateKey(database.db, key, { ...NOTHING, newKey: newKeyChosen });

    expect([once.created, again.created]).toEqual([true, false]);
    expect(again.row).toEqual(once.row);
  });

  test("must be one that never was a key, and one of the key's kind", async () => {
    const [one, other] = [await newKey(), await newKey()];
    const renewed = await regenerateKey(database.db, one.key, NOTHING);
    const refused = { code: "invalid_request", param: "new_key" };

    for (const taken of [other.key, one.key, renewed.key])
      await expect(regenerateKey(database.db, renewed.key, { ...NOTHING, newKey: taken })).rejects.toMatchObject(refused);
    await expect(regenerateKey(database.db, other.key, { ...NOTHING, newKey: "hbk_of_another_kind" })).rejects.toMatchObject(refused);
    await expect(mintKey(database.db, {}, { chosenKey: one.key })).rejects.toMatchObject({ code: "invalid_request", param: "key" });
    expect(await findCaller(database.db, one.id)).toBeUndefined();
  });
});

test("what is spent for the first time while the key is regenerated counts on the key: there is no counter yet that both could wait for", async () => {
  const { db } = database;
  const { key, id } = await newKey();
  const { key: second } = await regenerateKey(db, key, NOTHING);
  const running = await db.transaction().execute(async (tx) => {
    // Holds the regeneration up after it has changed LiteLLM's row.
    await sql`lock table key_hashes in share mode`.execute(tx);
    const regenerated = regenerateKey(db, second, NOTHING);
    await expect.poll(waiting).toBe(1);
    const settled = settleAttempt(db, await admitBy(second), outcomeOf("0.002"));
    await expect.poll(waiting).toBeGreaterThan(1);
    return { regenerated, settled };
  });

  expect(await running.settled).toBe("settled");
  expect((await requireKey(db, (await running.regenerated).key)).spend).toBe("0.002");
  expect(await budgetCounterOf(id)).toEqual({ used: 0.002, reserved: 0 });
});

test("of many that regenerate a key at once, each is after another, and one secret is good in the end", async () => {
  const { key, id } = await newKey();
  const made = await Promise.all(Array.from({ length: 8 }, async () => regenerateKey(database.db, key, NOTHING)));
  const usable = await listUsableKeys(database.db, [id, ...made.map(({ row }) => row.token)]);

  expect(new Set(made.map(({ row }) => row.token)).size).toBe(8);
  expect(usable.map(({ token }) => token)).toEqual([(await requireKey(database.db, key)).token]);
});

test("a key that is deleted while it is regenerated is gone, by whatever hash it was named", async () => {
  for (let turn = 0; turn < 10; turn += 1) {
    const { key, id } = await newKey();
    const [made, deleted] = await Promise.allSettled([regenerateKey(database.db, key, NOTHING), revokeKeys(database.db, [id], [])]);

    expect(deleted.status).toBe("fulfilled");
    const hashes = [id, ...(made.status === "fulfilled" ? [made.value.row.token] : [])];
    expect(await listUsableKeys(database.db, hashes)).toEqual([]);
  }
});

test("a budget's window ends for a key that was regenerated, and an expired one is put away with its counters and hashes", async () => {
  const { key, id } = await newKey({ maxBudgetUsd: "1", budgetDuration: "1d", budgetResetAt: new Date("2030-01-01") });
  await settleAttempt(database.db, await admitBy(key), outcomeOf("0.5"));
  const renewed = await regenerateKey(database.db, key, NOTHING);
  expect((await findKeyNames(database.db, [id])).get(id)).toMatchObject({ keyName: renewed.row.key_name });

  await resetBudgetsDueAt(database.db, new Date("2030-01-02"));
  expect(await budgetCounterOf(id)).toEqual({ used: 0, reserved: 0 });
  expect((await requireKey(database.db, renewed.key)).spend).toBe("0");

  await sql`update "LiteLLM_VerificationToken" set expires = '2020-01-01' where token = ${renewed.row.token}`.execute(database.db);
  await deleteExpiredKeys(database.db, { olderThanMs: 1_000, limit: 100 });
  expect(await budgetCounterOf(id)).toBeUndefined();
  expect(await database.db.selectFrom("key_hashes").selectAll().where("key_id", "=", id).execute()).toEqual([]);
});

import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listNewestSpendLogs, sumSpend, totalSpend } from "./index.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await sql`
    insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, "user", team_id, model, spend, total_tokens, "startTime", "endTime", request_tags)
    values ('r1', 'c', 'k1', 'u1', 't1', 'm1', 0.1, 10, '2026-01-01 00:00:00', '2026-01-01 00:00:01', '["a", "b"]'),
           ('r2', 'c', 'k1', 'u1', 't1', 'm2', 0.2, 20, '2026-01-01 23:59:59.999', '2026-01-02 00:00:01', '["a"]'),
           ('r3', 'c', 'k2', 'u2', null, 'm1', 1e-9, 30, '2026-01-02 00:00:00', '2026-01-02 00:00:01', '{}'),
           ('r4', 'c', 'k2', 'u2', '', 'm1', 7, 40, '2026-01-03 00:00:00', '2026-01-03 00:00:01', '[]')`.execute(database.db);
});
afterAll(() => database.drop());

const RANGE = { from: new Date("2026-01-01T00:00:00Z"), to: new Date("2026-01-03T00:00:00Z") };

test("sums are exact, of the rows that began in the range, its end left out", async () => {
  expect(await totalSpend(database.db, RANGE)).toBe("0.300000001");
  expect(await sumSpend(database.db, RANGE, ["day"], { order: "groups", limit: 9 })).toEqual([
    { day: "2026-01-01", spendUsd: "0.3", requests: 2, tokens: 30 },
    { day: "2026-01-02", spendUsd: "0.000000001", requests: 1, tokens: 30 },
  ]);
  expect(await totalSpend(database.db, { from: RANGE.to, to: RANGE.to })).toBe("0");
});

test("they are by several things at once, of one key or user, and the dearest first where it is asked so", async () => {
  const dearest = { order: "dearest", limit: 1 } as const;

  expect(await sumSpend(database.db, RANGE, ["model", "api_key"], dearest)).toMatchObject([
    { model: "m2", api_key: "k1", spendUsd: "0.2" },
  ]);
  expect(await sumSpend(database.db, { ...RANGE, userId: "u2" }, ["team_id"], dearest)).toMatchObject([{ team_id: "", requests: 1 }]);
  expect(await sumSpend(database.db, { ...RANGE, keyHash: "k1" }, ["user"], dearest)).toMatchObject([{ user: "u1", spendUsd: "0.3" }]);
});

test("a row with several tags is in the sum of each, and one without in none", async () => {
  expect(await sumSpend(database.db, RANGE, ["tag"], { order: "groups", limit: 9 })).toMatchObject([
    { tag: "a", requests: 2, spendUsd: "0.3" },
    { tag: "b", requests: 1, spendUsd: "0.1" },
  ]);
});

const ids = async (filter: Parameters<typeof listNewestSpendLogs>[1], limit = 9): Promise<readonly string[]> =>
  (await listNewestSpendLogs(database.db, filter, limit)).map(({ request_id: id }) => id);

test("the newest rows come first, and no more than are asked for", async () => {
  expect(await ids({}, 2)).toEqual(["r4", "r3"]);
  expect(await ids({ ...RANGE, keyHash: "k2" })).toEqual(["r3"]);
  expect(await ids({ userId: "u1" })).toEqual(["r2", "r1"]);
  expect(await ids({ requestId: "r1" })).toEqual(["r1"]);
});

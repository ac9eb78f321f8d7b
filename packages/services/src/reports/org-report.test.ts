import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureOrg } from "../billing-gate/db.ts";
import { readReservations } from "../key-budgets/db.ts";
import { describeOrg } from "./org-report.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test("what an operator sees reserved in keys is what admission counts: decided, in force, just being told, and held after a cut", async () => {
  const { db } = database;
  await ensureOrg(db, "org_1");
  await sql`
    insert into key_reservations (session_id, key_generation, org_id, key_hash, budget_usd, applied_usd, telling_usd, held_usd, spent_usd, blocked, created_at, released_at) values
      ('decided', 1, 'org_1', 'a', 3, 1, null, 0, 0.5, false, now(), null),
      ('in_force', 1, 'org_1', 'b', 1, 4, null, 0, 1, true, now(), null),
      ('being_told', 1, 'org_1', 'c', 1, 1, 2, 0, 0.25, false, now(), null),
      ('held', 1, 'org_1', 'd', 1, 1, null, 5, 0.75, false, now(), null),
      ('ended', 1, 'org_1', 'e', 2, 0, null, 0, 1.5, false, now(), now())`.execute(db);

  const { keys } = await describeOrg(db, "org_1");

  expect(keys).toEqual({ live: 4, blocked: 1, reservedUsd: "12" });
  expect(await readReservations(db, "org_1")).toMatchObject({ reserved_usd: keys.reservedUsd, live_sessions: keys.live });
});

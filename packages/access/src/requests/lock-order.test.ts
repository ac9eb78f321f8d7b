import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { mintKey } from "../keys/keys.ts";
import { upsertLimit } from "../limits/limits-db.ts";
import { insertTeam } from "../teams/db.ts";
import { admitAttempt } from "./admit.ts";
import { settleAttempt } from "./settle.ts";

/** Whoever needs a counter and a row of LiteLLM's locks the counter first, whatever plan PostgreSQL chose: else two wait for each other. */

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

async function newTeam(): Promise<string> {
  const teamId = `org-${randomUUID()}`;
  const none = { teamAlias: null, maxBudgetUsd: null, budgetDuration: null, budgetResetAt: null, models: [], metadata: {}, blocked: false };
  await insertTeam(database.db, { ...none, teamId, createdBy: "admin" });
  return teamId;
}

describe.each(["force_custom_plan", "force_generic_plan"])("by a plan of the kind %s", (plan) => {
  test.each([
    ["a key without a team", false, false],
    ["a key of a team", true, false],
    ["a key without a team, with a limit", false, true],
    ["a key of a team, with a limit", true, true],
  ])("a settlement of %s that waits for the counter holds neither key nor team", async (_, hasTeam, hasLimit) => {
    const { db } = database;
    const teamId = hasTeam ? await newTeam() : null;
    const hash = (await mintKey(db, { teamId })).row.token;
    if (hasLimit)
      await upsertLimit(db, {
        principal: { kind: "key", id: hash },
        meter: "requests",
        window: "month",
        model: "",
        amount: "9",
        enforce: "refuse",
      });
    const attempt = await admitAttempt(db, await requestOf(db, hash));

    const settled = await db.connection().execute(async (settling) => {
      await sql`set plan_cache_mode = ${sql.lit(plan)}`.execute(settling);
      const pid = (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(settling)).rows[0]?.pid;
      const settlement = await db.transaction().execute(async (tx) => {
        await sql`select from limit_counters where principal_kind = 'key' and principal_id = ${hash} for update`.execute(tx);
        const running = settleAttempt(settling, attempt, outcomeOf("0.001"));
        await expect
          .poll(async () => (await sql`select from pg_locks where pid = ${pid} and not granted`.execute(db)).rows.length)
          .toBeGreaterThan(0);
        await sql`select from "LiteLLM_VerificationToken" where token = ${hash} for update nowait`.execute(tx);
        await sql`select from "LiteLLM_TeamTable" where team_id = ${teamId} for update nowait`.execute(tx);
        return { running };
      });
      const result = await settlement.running;
      await sql`reset plan_cache_mode`.execute(settling);
      return result;
    });

    expect(settled).toBe("settled");
  });
});

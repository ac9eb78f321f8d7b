import { randomUUID } from "node:crypto";
import { type DatabaseClient, openDatabase } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { mintKey } from "../keys/keys.ts";
import { upsertLimit } from "../limits/limits-db.ts";
import { insertTeam } from "../teams/db.ts";
import { admitAttempt } from "./admit.ts";
import { settleAttempt } from "./settle.ts";
import { settleSpooledAttempt } from "./spooled.ts";

/**
 * What many requests of one person move in the same counters at once is exact by whatever plan PostgreSQL chooses. A statement that waited
 * for a locked row looks at its other tables again afterwards, and of some plans it then finds nothing there: what is joined with
 * a locked counter is therefore materialized first. Which plan is chosen changes with the statistics, in the middle of the day.
 */

const AT_ONCE = 16;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** Keys of one team and one user, who may have limits beside their budgets. */
async function newCallers(
  db: DatabaseClient,
  hasLimits: boolean,
): Promise<{ readonly ids: readonly string[]; readonly hashes: readonly string[] }> {
  const [teamId, userId] = [`org-${randomUUID()}`, `user-${randomUUID()}`];
  const none = { teamAlias: null, maxBudgetUsd: null, budgetDuration: null, budgetResetAt: null, models: [], metadata: {}, blocked: false };
  await insertTeam(db, { ...none, teamId, createdBy: "admin" });
  const minted = [await mintKey(db, { teamId, userId }), await mintKey(db, { teamId, userId })];
  for (const meter of hasLimits ? ["requests", "tokens"] : [])
    await upsertLimit(db, {
      principal: { kind: "user", id: userId },
      meter,
      window: "total",
      model: "",
      amount: "1000000",
      enforce: "refuse",
    });
  const hashes = minted.map(({ row }) => row.token);
  return { ids: [teamId, userId, ...hashes], hashes };
}

async function countersOf(db: DatabaseClient, ids: readonly string[]): Promise<readonly string[]> {
  const { rows } = await sql<{ counter: string }>`
    select concat_ws(' ', principal_kind, meter, 'used', sum(used)::float8, 'reserved', sum(reserved)::float8) as counter
      from limit_counters where principal_id = any(${ids as string[]}::text[]) group by principal_kind, meter order by 1`.execute(db);
  return rows.map(({ counter }) => counter);
}

describe.each(["force_custom_plan", "force_generic_plan"])("by plans of the kind %s", (kind) => {
  describe.each([
    ["any"],
    ["enable_hashjoin=off"],
    ["enable_nestloop=off"],
    ["enable_nestloop=off -c enable_hashjoin=off"],
    ["enable_indexscan=off -c enable_bitmapscan=off"],
    ["enable_seqscan=off"],
    ["enable_material=off -c enable_hashjoin=off"],
    ["enable_sort=off -c enable_memoize=off"],
  ])("with %s", (setting) => {
    test.each([
      ["the two budgets", false],
      ["limits beside the budgets", true],
    ])("in %s, all that is reserved, taken and corrected at once is counted once", async (_, hasLimits) => {
      const url = new URL(database.connectionString);
      url.searchParams.set("options", `-c plan_cache_mode=${kind}${setting === "any" ? "" : ` -c ${setting}`}`);
      const db = openDatabase({ connectionString: url.href, maxConnections: 8 });
      try {
        expect(await countersAtEachStep(db, hasLimits)).toEqual([
          countersFrom(hasLimits, { used: [0, 0, 0], reserved: [16, 480, 0.16] }),
          countersFrom(hasLimits, { used: [16, 192, 0.016], reserved: [0, 0, 0] }),
          countersFrom(hasLimits, { used: [16, 192, 0.048], reserved: [0, 0, 0] }),
          countersFrom(hasLimits, { used: [32, 384, 0.08], reserved: [0, 0, 0] }),
        ]);
      } finally {
        await db.destroy();
      }
    });
  });
});

/** What the counters say when requests at once were admitted; settled at an estimate by whoever found them; by the truth; and as many more that the store did not see admitted. */
async function countersAtEachStep(db: DatabaseClient, hasLimits: boolean): Promise<readonly (readonly string[])[]> {
  const { ids, hashes } = await newCallers(db, hasLimits);
  const requests = await Promise.all(Array.from({ length: AT_ONCE }, async (_, index) => requestOf(db, hashes[index % 2] as string)));
  const steps: (readonly string[])[] = [];

  const admitted = await Promise.all(requests.map(async (request) => admitAttempt(db, request)));
  steps.push(await countersOf(db, ids));
  for (const outcome of [outcomeOf("0.001", { recovered: true, estimated: true }), outcomeOf("0.003")]) {
    await Promise.all(admitted.map(async (attempt) => settleAttempt(db, attempt, outcome)));
    steps.push(await countersOf(db, ids));
  }
  const spooled = admitted.map(({ limits: _limits, ...attempt }) => ({ ...attempt, attempt_id: randomUUID() }));
  await Promise.all(spooled.map(async (attempt) => settleSpooledAttempt(db, attempt, outcomeOf("0.002"))));
  return [...steps, await countersOf(db, ids)];
}

/** Of requests, tokens and USD. */
type PerMeter = readonly [number, number, number];

function countersFrom(hasLimits: boolean, { used, reserved }: Record<"used" | "reserved", PerMeter>): readonly string[] {
  const [requests, tokens, usd] = used.map((amount, meter) => `used ${amount} reserved ${reserved[meter]}`);
  const ofBudgets = [`key usd ${usd}`, `team usd ${usd}`];
  return hasLimits ? [...ofBudgets, `user requests ${requests}`, `user tokens ${tokens}`] : ofBudgets;
}

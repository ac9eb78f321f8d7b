import { createTestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { listOrgsToReconcile } from "../balance/db.ts";
import { listOrgsNearZero, listOrgsToMove } from "../billing-gate/db.ts";
import { openInterceptedDatabase } from "../../test/intercepted-database.ts";

test("what looks for balances to read, gates to move and low balances finds accounts and gates by index, and passes thousands of kept accounts by", async () => {
  const database = await createTestDatabase();
  const { db } = database;
  await sql`insert into billing_accounts (org_id, mode, balance_credits)
    select 'org_' || n, case when n % 10 = 0 then 'kept' else 'settled' end, case when n % 10 = 0 then null when n % 500 = 1 then -1 else 1000 end from generate_series(1, 30000) n`.execute(
    db,
  );
  await sql`insert into org_gates (org_id, account_mode, state, reconciled_at)
    select org_id, mode, 'active', case mode when 'settled' then now() end from billing_accounts`.execute(db);
  await sql`analyze`.execute(db);
  const explaining = openInterceptedDatabase(database.connectionString, {
    before: async () => undefined,
    rewrite: (statement) => (statement.includes("org_gates") ? `explain (costs off) ${statement}` : statement),
  });

  // These two answer with names only.
  const explainRows = async (list: (db: typeof explaining) => Promise<unknown>): Promise<readonly object[]> => {
    const lines: object[] = [];
    await list(
      explaining.withPlugin({
        transformQuery: ({ node }) => node,
        transformResult: async ({ result }) => {
          lines.push(...(result.rows as object[]));
          return result;
        },
      }),
    );
    return lines;
  };

  const plans = [
    await listOrgsToReconcile(explaining, { limit: 100, everyMs: 86_400_000, outOfCreditsMs: 60_000 }),
    await explainRows(listOrgsToMove),
    await explainRows(listOrgsNearZero),
  ];

  for (const plan of plans) {
    const lines = plan.map((line) => String(Object.values(line)[0]));
    expect(lines.filter((line) => line.includes("Index")).length).toBeGreaterThan(2);
    expect(lines.filter((line) => /Seq Scan on (billing_accounts|org_gates)/.test(line))).toEqual([]);
  }
  await explaining.destroy();
  await database.drop();
});

import type { DatabaseExecutor } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { BATCHES_UNDER_WAY, foldCounts, GATES } from "./counts-db.ts";
import { flagForgottenKeys, redriveBatch } from "../settlement/settlement-db.ts";
import { settle } from "../settlement/settlement.ts";
import type { DeliveryOutcome } from "../sinks/port/sink.ts";
import { syncSpend } from "./spend-sync.ts";
import { countDueBatches, MOST_OVERDUE, readBalances, readDelivery } from "../reports/status-db.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { readBatchStates, readOpenEvents } from "../reports/usage-db.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate billing_events, settlement_batches, billing_accounts, org_gates, settlement_org_backoff, settlement_circuits, "LiteLLM_SpendLogs" cascade`.execute(
    database.db,
  );
  await sql`insert into billing_deployment default values on conflict do nothing`.execute(database.db);
});

/** Counts that differ from what is counted in the same moment; each with both. */
async function findWrongCounts(db: DatabaseExecutor): Promise<readonly unknown[]> {
  const { rows } = await sql`
    select * from (
      select state, needs_reconcile, count(*) as count, sum(credits) as credits, sum(credits - coalesce(deducted_credits, 0)) as unposted
      from settlement_batches where state not in ('delivered', 'shortfall') group by state, needs_reconcile
    ) counted full join ${BATCHES_UNDER_WAY} kept using (state, needs_reconcile)
    where (counted.count, counted.credits, counted.unposted) is distinct from (kept.count, kept.credits, kept.unposted_credits)`.execute(
    db,
  );
  const gates = await sql`
    select * from (select state, count(*) as count from org_gates group by state) counted full join ${GATES} kept using (state)
    where counted.count is distinct from kept.count`.execute(db);
  return [...rows, ...gates.rows];
}

/** Batches of one org each, as sealing makes them, due for `dueMinutes`. */
const insertBatches = (batches: number, dueMinutes: number): Promise<unknown> =>
  sql`with accounts as (insert into billing_accounts (org_id) select 'org_' || n from generate_series(0, 9) n)
    insert into settlement_batches (batch_id, org_id, sequence, idempotency_key, event_count, spend_usd, events_credits, carry_in, carry_out, credits, state, sealed_at, next_attempt_at, after_event_id, through_event_id, oldest_event_at)
    select gen_random_uuid(), 'org_' || n % 10, n, 'pb:' || n, 1, 0.01, 3, 0, 0, 3, 'sealed', now() - interval '1 hour', now() - ${dueMinutes} * interval '1 minute', n - 1, n, now() - interval '2 hours'
    from generate_series(1, ${batches}) n`.execute(database.db);

test("code 15: whatever a batch meets, the counts of what is under way are those of the batches, credits exactly", async () => {
  const outcomes: readonly (DeliveryOutcome | undefined)[] = [
    { kind: "parked", status: 404, code: "customer_not_found" },
    { kind: "unknown", code: "timeout" },
    { kind: "delivered", status: 200, deductedCredits: "0.1", balanceAfter: "0" },
    undefined,
  ];
  await insertSpendRows(
    database.db,
    outcomes.map((_, index) => ({ orgId: `org_${index}`, spendUsd: `0.00${index + 1}0000000000123` })),
  );
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const sink = new ScriptedSink();
  sink.script = ({ orgId }) => outcomes[Number(orgId.slice(-1))];

  await settle(database.db, { sink });

  const states = new Set((await readBatchStates(database.db)).map(({ state }) => state));
  expect(states.size).toBeGreaterThanOrEqual(3);
  expect(await findWrongCounts(database.db)).toEqual([]);
  const { rows } = await sql<{
    batch_id: string;
  }>`update settlement_batches set state = 'dead', first_sent_at = null where state = 'parked' returning batch_id`.execute(database.db);
  expect(await findWrongCounts(database.db)).toEqual([]);
  expect(await redriveBatch(database.db, rows[0]?.batch_id ?? "")).toBe(true);
  expect(await flagForgottenKeys(database.db, 0)).toBeGreaterThan(0);
  expect(await findWrongCounts(database.db)).toEqual([]);
});

test("code 15: gates are counted as they come, move and go", async () => {
  await sql`insert into org_gates (org_id, state) values ('org_a', 'active'), ('org_b', 'trial'), ('org_c', 'trial')`.execute(database.db);
  await sql`update org_gates set state = 'exhausted' where org_id = 'org_b'`.execute(database.db);
  await sql`delete from org_gates where org_id = 'org_c'`.execute(database.db);

  expect(await findWrongCounts(database.db)).toEqual([]);
  expect(await readBalances(database.db)).toMatchObject({ orgs: "2", states: { active: 1, exhausted: 1 } });
});

test("code 15: counts are right at every moment while many move batches and several make one row of what was appended", async () => {
  await insertBatches(200, 10);
  const move = async (lane: number): Promise<void> => {
    for (let round = 0; round < 40; round += 1) {
      const [state, flagged] = [["sending", "unknown", "parked", "dead", "sealed"][round % 5] ?? "sealed", round % 3 === 0];
      await sql`update settlement_batches set state = ${state}, needs_reconcile = ${flagged}, deducted_credits = ${round % 2} where sequence % 4 = ${lane} and sequence % 7 = ${round % 7}`.execute(
        database.db,
      );
    }
  };
  const wrong: unknown[] = [];
  const done = new AbortController();
  const fold = async (): Promise<void> => {
    while (!done.signal.aborted) await foldCounts(database.db);
  };
  const look = async (): Promise<void> => {
    while (!done.signal.aborted) wrong.push(...(await findWrongCounts(database.db)));
  };
  const moving = Promise.all([0, 1, 2, 3].map(move)).finally(() => done.abort());

  await Promise.all([moving, fold(), fold(), look()]);

  expect(wrong).toEqual([]);
  expect(await findWrongCounts(database.db)).toEqual([]);
  const { rows } = await sql<{ rows: number }>`select count(*)::int as rows from kept_counts`.execute(database.db);
  expect(rows[0]?.rows).toBeLessThan(200);
});

test("code 15: what is told of a delivery is what a look at every batch tells", async () => {
  await insertBatches(20, 10);
  await sql`update settlement_batches set state = 'parked', sealed_at = sealed_at where sequence = 1`.execute(database.db);
  await sql`update settlement_batches set lease_until = now() + interval '1 minute', state = 'sending' where sequence = 2`.execute(
    database.db,
  );
  await sql`update settlement_batches set state = 'unapplied', deducted_credits = 1 where sequence = 3`.execute(database.db);
  await sql`update settlement_batches set next_attempt_at = now() + interval '1 hour' where sequence = 4`.execute(database.db);
  await sql`insert into settlement_org_backoff (org_id, failure_count, retry_at, error_code) values ('org_5', 1, now(), 'x'), ('org_6', 1, now() - interval '6 minutes', 'x')`.execute(
    database.db,
  );

  const delivery = await readDelivery(database.db);

  // Of 20: one is claimed, one rests, one is due later, and two are of an org that is waited for.
  expect(delivery).toMatchObject({ unposted_credits: "59", overdue_batches: "15" });
  expect(Number(delivery.oldest_undelivered_seconds)).toBeGreaterThanOrEqual(3_600);
  expect(delivery.oldest_moving_seconds).toBe(delivery.oldest_undelivered_seconds);
  expect(await countDueBatches(database.db)).toBe(17);
  expect(Number((await readOpenEvents(database.db)).oldest_unsettled_seconds)).toBeGreaterThanOrEqual(7_200);

  await sql`insert into settlement_circuits (sink, opened_at, retry_at, error_code, open_count) values ('autumn', now(), now(), 'x', 1)`.execute(
    database.db,
  );
  expect(await readDelivery(database.db)).toMatchObject({ overdue_batches: "0" });
});

test("code 15: of overdue batches so many are counted, and no more", async () => {
  await insertBatches(MOST_OVERDUE + 1, 10);

  expect(await readDelivery(database.db)).toMatchObject({ overdue_batches: String(MOST_OVERDUE) });
  expect(await countDueBatches(database.db)).toBe(MOST_OVERDUE + 1);
});

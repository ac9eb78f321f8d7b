import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { getSessionCost } from "../sessions/session-cost.ts";
import { selectEndedWithKeys } from "../sessions/sandbox-db.ts";
import { deleteExpiredKeys } from "@proliferate/access/keys";
import { countDifferences } from "../ledger/corrections-db.ts";
import { readMark, takePass } from "../passes/db.ts";
import { readLowWaterMark } from "../ledger/retention.ts";
import { readSourceLag } from "../reports/status-db.ts";
import { sweepSpend, syncRecentSpend, syncSpend } from "./spend-sync.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { readBatchStates, readOpenEvents } from "../reports/usage-db.ts";
import { ensureGatesOfSpenders, listOrgsNearZero, listOrgsToMove } from "../billing-gate/db.ts";
import { sealOpenEvents } from "../settlement/settlement.ts";

const RATE = { markup: "3", creditsPerUsd: "100" } as const;
const HOUR_MS = 3_600_000;
const ALL = { from: "-infinity", to: "infinity" } as const;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate billing_events, settlement_batches, billing_accounts, spend_reviews, pass_marks, spend_source_marks, gateway_sessions, "LiteLLM_SpendLogs", "LiteLLM_VerificationToken", request_attempts cascade`.execute(
    database.db,
  );
});

const recent = () => syncRecentSpend(database.db, { rate: RATE });

test("code 10: a pass reads what began since the last one and a quarter of an hour before; what comes in later still is found by the sweep", async () => {
  expect(await recent()).toMatchObject({ events: 0 });
  expect(await readMark(database.db, "spend-recent")).toBeDefined();
  await insertSpendRows(database.db, [{ ageMs: 2 * HOUR_MS }, { ageMs: 60_000 }]);

  expect(await recent()).toMatchObject({ events: 1 });
  expect(await recent()).toMatchObject({ events: 0 });
  expect(await sweepSpend(database.db, { rate: RATE })).toMatchObject({ events: 1 });
});

test("code 10: what is in flight at our engine holds the mark back, so its row is found whenever it comes", async () => {
  await sql`insert into request_attempts (attempt_id, instance_id, key_hash, dialect, call_type, model_group, model, provider, price_id, reserved_usd, estimated_input_tokens, started_at)
    values (gen_random_uuid(), 1, 'k', 'openai', 'acompletion', 'm', 'm', 'p', 'p', 0, 1, now() - interval '3 hours')`.execute(database.db);
  await recent();
  await sql`delete from request_attempts`.execute(database.db);
  await insertSpendRows(database.db, [{ ageMs: 3 * HOUR_MS }]);

  expect(await recent()).toMatchObject({ events: 1 });
});

test("code 11: what stands in review is no work for the next pass, and is billed once its row is repaired", async () => {
  await insertSpendRows(database.db, [
    { requestId: "nobody", orgId: null },
    { requestId: "infinite", spendUsd: "Infinity" },
  ]);
  expect(await countDifferences(database.db, ALL)).toMatchObject({ unbillable: 2 });
  await syncSpend(database.db, { rate: RATE });

  expect(await countDifferences(database.db, ALL)).toMatchObject({ fresh: 0, unbillable: 0 });
  await sql`update "LiteLLM_SpendLogs" set team_id = 'org_a' where request_id = 'nobody'`.execute(database.db);
  expect(await syncSpend(database.db, { rate: RATE })).toMatchObject({ events: 1, resolvedReviews: 1 });
});

test("code 12: of all workers one takes the sweep, and a sweep goes month by month until it has come round", async () => {
  expect([await takePass(database.db, "sweep", HOUR_MS), await takePass(database.db, "sweep", HOUR_MS)]).toEqual([true, false]);
  await sweepSpend(database.db, { rate: RATE });
  const first = await readLowWaterMark(database.db);
  await insertSpendRows(
    database.db,
    [100, 70, 40].map((days) => ({ ageMs: days * 24 * HOUR_MS })),
  );

  const passes = [];
  for (let pass = 0; pass < 3; pass += 1) passes.push((await sweepSpend(database.db, { rate: RATE })).events);

  expect(first).toBeDefined();
  expect(passes).toEqual([1, 1, 1]);
  expect((await readLowWaterMark(database.db))?.getTime()).toBeGreaterThan(first?.getTime() ?? 0);
});

test("code 8: a session of more than two billion tokens has a cost", async () => {
  await sql`insert into gateway_sessions (session_id, org_id, model, key_hash) values ('huge', 'org_a', 'm', 'k')`.execute(database.db);
  await insertSpendRows(database.db, [{ sessionId: "huge" }, { sessionId: "huge" }]);
  await sql`update "LiteLLM_SpendLogs" set prompt_tokens = 2000000000`.execute(database.db);

  expect(await getSessionCost(database.db, "huge")).toMatchObject({ requests: 2, by_model: [{ prompt_tokens: 4_000_000_000 }] });
});

test("code 13: an ended session is looked at for keys until they are gone, and never again; keys that expired long ago are deleted", async () => {
  await sql`insert into gateway_sessions (session_id, org_id, model, state, ended_at, key_hash) select 's' || n, 'org_a', 'm', 'ended', now() - interval '1 hour', 'k' || n from generate_series(1, 2) n`.execute(
    database.db,
  );
  await sql`insert into "LiteLLM_VerificationToken" (token, user_id, team_id, expires) values ('k1', 's1', 'org_a', null), ('old', 's9', 'org_a', now() at time zone 'utc' - interval '40 days'), ('young', 's9', 'org_a', now() at time zone 'utc' - interval '1 day')`.execute(
    database.db,
  );

  expect(await selectEndedWithKeys(database.db)).toEqual(["s1"]);
  expect(await deleteExpiredKeys(database.db, { olderThanMs: 30 * 24 * HOUR_MS, limit: 10 })).toBe(1);

  const { rows } = await sql`select session_id, keys_gone_at is not null as gone from gateway_sessions order by 1`.execute(database.db);
  expect(rows).toEqual([
    { session_id: "s1", gone: false },
    { session_id: "s2", gone: true },
  ]);
});

test("code 15: batches that are settled for good are counted when they are, and no report reads them again", async () => {
  await sql`insert into billing_deployment default values on conflict do nothing`.execute(database.db);
  await insertSpendRows(database.db, [{ orgId: "org_a" }, { orgId: "org_b" }]);
  await syncSpend(database.db, { rate: RATE });
  await sealOpenEvents(database.db);
  await sql`update settlement_batches set state = 'delivered', delivered_at = now(), deducted_credits = credits where org_id = 'org_a'`.execute(
    database.db,
  );

  const states = await readBatchStates(database.db);
  const { rows } =
    await sql`select state, count(*) as batches, trim_scale(sum(credits)) as credits from settlement_batches group by state order by state`.execute(
      database.db,
    );
  expect(states.map(({ state, batches, credits }) => ({ state, batches, credits }))).toEqual(rows);
});

test("code 17: sealing looks for the open events of an org in the months since the first of them, and in no other; so does whoever reads a batch", async () => {
  await sql`insert into billing_deployment default values on conflict do nothing`.execute(database.db);
  await insertSpendRows(database.db, [{ ageMs: 2_000 }, { ageMs: 1_000 }]);
  await syncSpend(database.db, { rate: RATE });
  const before = await sql<{
    open_since: Date;
    oldest: Date;
  }>`select open_since, (select min(recorded_at) from billing_events) as oldest from billing_accounts`.execute(database.db);
  await sealOpenEvents(database.db);
  const { rows: batches } = await sql<{
    oldest_event_at: Date;
    event_count: number;
  }>`select oldest_event_at, event_count from settlement_batches`.execute(database.db);

  expect(before.rows).toEqual([{ open_since: before.rows[0]?.oldest, oldest: before.rows[0]?.oldest }]);
  expect(batches).toEqual([{ oldest_event_at: before.rows[0]?.oldest, event_count: 2 }]);
});

test("code 17: events that came before the account says so are found by nobody, so sealing refuses the org instead of forgetting them", async () => {
  await sql`insert into billing_deployment default values on conflict do nothing`.execute(database.db);
  await insertSpendRows(database.db, [{ ageMs: 1_000 }]);
  await syncSpend(database.db, { rate: RATE });
  await sql`update billing_accounts set open_since = now() + interval '1 minute'`.execute(database.db);

  expect(await sealOpenEvents(database.db)).toMatchObject({ refusedOrgIds: ["org_a"] });
});

test("code 16: an org stands in the index of what moves exactly while its gate has to, and whoever has no copy of the gate gets one", async () => {
  const indexed = async (): Promise<unknown> =>
    (
      await sql`select org_id from billing_accounts where may_gate_move(balance_credits, gate_state, gate_plan, gate_low_credits, gate_low_told, gate_overdraft_credits)`.execute(
        database.db,
      )
    ).rows;
  await sql`delete from org_gates`.execute(database.db);
  await sql`insert into org_gates (org_id, state) values ('org_a', 'active')`.execute(database.db);
  await sql`insert into billing_accounts (org_id, balance_credits) values ('org_a', 1000), ('org_b', null)`.execute(database.db);
  expect(await ensureGatesOfSpenders(database.db)).toBe(1);
  expect([await indexed(), await listOrgsToMove(database.db)]).toEqual([[], []]);

  await sql`update billing_accounts set balance_credits = -1 where org_id = 'org_a'`.execute(database.db);
  expect([await indexed(), await listOrgsToMove(database.db), await listOrgsNearZero(database.db)]).toEqual([
    [{ org_id: "org_a" }],
    ["org_a"],
    ["org_a"],
  ]);

  await sql`update org_gates set state = 'exhausted', low_balance_told = true where org_id = 'org_a'`.execute(database.db);
  expect([await indexed(), await listOrgsToMove(database.db)]).toEqual([[], []]);
});

test("code 15: what all accounts carry is moved with each carry, and is their sum", async () => {
  await sql`insert into billing_deployment default values on conflict do nothing`.execute(database.db);
  await insertSpendRows(database.db, [
    { orgId: "org_a", spendUsd: "0.0000000000000000123" },
    { orgId: "org_b", spendUsd: "0.0000000000000000321" },
  ]);
  await syncSpend(database.db, { rate: RATE });
  await sealOpenEvents(database.db);
  const sum = (
    await sql<{ carry_credits: string }>`select trim_scale(sum(carry_credits)) as carry_credits from billing_accounts`.execute(database.db)
  ).rows[0];

  expect(sum?.carry_credits).not.toBe("0");
  expect(await readOpenEvents(database.db)).toMatchObject({ carry_credits: sum?.carry_credits });
});

test("public bug 12: a row from the future does not hide that the source stands still", async () => {
  await insertSpendRows(database.db, [{ ageMs: HOUR_MS }, { ageMs: -1_000 * HOUR_MS }]);

  const lag = await readSourceLag(database.db);
  expect(Number(lag.newest_row_seconds)).toBeGreaterThanOrEqual(3_600);
  expect(lag.future_rows).toBe("1");
});

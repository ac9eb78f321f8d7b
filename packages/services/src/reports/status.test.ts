import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { explainBilling } from "./explain.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { checkCompleteness, getOperatorStatus } from "./status.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { tamper } from "../../test/test-tampering.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const sync = () => syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
const problemCodes = async (): Promise<readonly string[]> => (await getOperatorStatus(database.db)).problems.map(({ code }) => code);

/** Dates every row so long ago that it should have been billed by now. */
async function ageSource(): Promise<void> {
  await sql`update "LiteLLM_SpendLogs" set "endTime" = "endTime" - interval '1 hour'`.execute(database.db);
}

test("an empty deployment is healthy, and nothing is unbilled", async () => {
  const status = await getOperatorStatus(database.db);

  expect(status).toMatchObject({
    problems: [],
    unpostedCredits: "0",
    completeness: { sourceRows: 0, unbilledUsd: "0", differenceUsd: "0" },
  });
});

test("what is delivered is billed to the last digit, and nothing is unposted", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.1" }, { spendUsd: "0.2", orgId: "org_b" }, { spendUsd: "1.5e-05" }]);
  await sync();
  await settle(database.db, { sink: new ScriptedSink() });

  expect(await getOperatorStatus(database.db)).toMatchObject({
    problems: [],
    unpostedCredits: "0",
    lastDeliveredAt: expect.any(Date),
    completeness: {
      sourceRows: 3,
      sourceUsd: "0.300015",
      billedUsd: "0.300015",
      unbilledRows: 0,
      unbilledUsd: "0",
      overbilledUsd: "0",
      differenceUsd: "0",
    },
  });
});

test("a row that waits for its sync is unbilled but no problem; one that was missed for long is", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);
  expect(await getOperatorStatus(database.db)).toMatchObject({
    problems: [],
    completeness: { unbilledRows: 1, unbilledUsd: "0.1", overdueRows: 0 },
  });

  await ageSource();
  expect(await getOperatorStatus(database.db)).toMatchObject({
    problems: [{ code: "unbilled" }],
    completeness: { overdueRows: 1, overdueUsd: "0.1", differenceUsd: "0" },
  });
});

test("an event that was deleted or changed behind our back is found, and two errors do not cancel out", async () => {
  await insertSpendRows(database.db, [
    { requestId: "a", spendUsd: "0.1" },
    { requestId: "b", spendUsd: "0.5" },
    { requestId: "c", spendUsd: "0.2" },
  ]);
  await sync();
  await ageSource();
  await tamper(database.db, sql`delete from billing_events where request_id = 'a'`);
  await tamper(database.db, sql`update billing_events set spend_usd = 0.6, credits = 180 where request_id = 'b'`);

  expect(await getOperatorStatus(database.db)).toMatchObject({
    problems: [
      { code: "ledger_unbalanced", message: expect.stringContaining("org_a (-30 credits)") },
      { code: "overbilled" },
      { code: "unbilled", message: expect.stringContaining("$0.1") },
    ],
    completeness: { sourceUsd: "0.8", billedUsd: "0.8", unbilledUsd: "0.1", overbilledUsd: "0.1", differenceUsd: "0" },
  });
});

test("rows in review are counted apart, with their amount where it is one", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.1", orgId: null }, { spendUsd: "NaN" }, { spendUsd: "Infinity" }]);
  await sync();
  await ageSource();

  expect(await getOperatorStatus(database.db)).toMatchObject({
    problems: [{ code: "needs_review" }],
    completeness: { reviewRows: 3, reviewUsd: "0.1", unbilledRows: 0, differenceUsd: "0" },
  });
});

test("each state that needs a person is named", async () => {
  await insertSpendRows(database.db, [{ orgId: "org_dead" }, { orgId: "org_parked" }, { orgId: "org_unapplied" }]);
  await sync();
  const sink = new ScriptedSink();
  sink.script = ({ orgId }) => {
    if (orgId === "org_dead") return { kind: "dead", status: 400, code: "invalid_inputs" };
    if (orgId === "org_parked") return { kind: "parked", status: 404, code: "customer_not_found" };
    return { kind: "unapplied", status: 200, code: "no_balance", deductedCredits: "0" };
  };
  await settle(database.db, { sink });

  expect(await problemCodes()).toEqual(["dead", "unapplied", "parked"]);
  await tamper(database.db, sql`delete from billing_events where org_id = 'org_dead'`);
  expect(await problemCodes()).toContain("ledger_unbalanced");
});

test.each([
  ["an event of a recent batch is gone", sql`delete from billing_events where request_id = 'sealed'`, "-0.3"],
  ["an open event is gone", sql`delete from billing_events where request_id = 'open'`, "-0.6"],
  [
    "an event was put in that no account knows",
    sql`insert into billing_events select nextval('billing_event_ids'), 'llm:more', org_id, event_type, 'more', original_event_id, session_id, key_hash, model,
    prompt_tokens, completion_tokens, spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at from billing_events where request_id = 'open'`,
    "0.6",
  ],
  ["the carry was changed", sql`update billing_accounts set carry_credits = carry_credits + 0.25`, "0.25"],
])("two days are enough to find that %s", async (_what, statement, difference) => {
  const recently = { from: new Date(Date.now() - 172_800_000) };
  await insertSpendRows(database.db, [{ requestId: "sealed", spendUsd: "0.001" }]);
  await sync();
  await settle(database.db, { sink: new ScriptedSink() });
  await insertSpendRows(database.db, [{ requestId: "open", spendUsd: "0.002" }]);
  await sync();
  expect((await getOperatorStatus(database.db, recently)).unbalancedOrgs).toEqual([]);

  await tamper(database.db, statement);

  expect((await getOperatorStatus(database.db, recently)).unbalancedOrgs).toEqual([{ orgId: "org_a", differenceCredits: difference }]);
});

test("what the source corrects later is unbilled or overbilled until the next sync has adjusted it", async () => {
  await insertSpendRows(database.db, [
    { requestId: "up", spendUsd: "0.1" },
    { requestId: "down", spendUsd: "0.5" },
  ]);
  await sync();
  await sql`update "LiteLLM_SpendLogs" set spend = case request_id when 'up' then 0.3 else 0.4 end`.execute(database.db);
  expect(await checkCompleteness(database.db)).toMatchObject({ unbilledUsd: "0.2", overbilledUsd: "0.1", differenceUsd: "0" });

  await sync();
  expect(await getOperatorStatus(database.db)).toMatchObject({
    problems: [],
    completeness: { sourceUsd: "0.7", billedUsd: "0.7", unbilledUsd: "0", overbilledUsd: "0" },
  });
  expect((await explainBilling(database.db, "up")).events.map((event) => [event.event_type, event.arithmetic.text])).toEqual([
    ["llm", "0.1 USD x 3 x 100 = 30 credits"],
    ["adjustment", "0.2 USD x 3 x 100 = 60 credits"],
  ]);
});

test("a refund and another request under a used id are neither missing nor counted twice", async () => {
  await insertSpendRows(database.db, [{ requestId: "a", spendUsd: "0.5" }]);
  await sync();
  await insertSpendRows(database.db, [{ requestId: "a:correction", spendUsd: "-0.2" }]);
  await sync();
  expect(await checkCompleteness(database.db)).toMatchObject({ sourceUsd: "0.3", billedUsd: "0.3", unbilledUsd: "0", overbilledUsd: "0" });

  await sql`update "LiteLLM_SpendLogs" set spend = 7, "startTime" = "startTime" + interval '1 minute' where request_id = 'a'`.execute(
    database.db,
  );
  await sync();
  expect(await getOperatorStatus(database.db)).toMatchObject({
    reviews: { recycled_id: 1 },
    completeness: { reviewUsd: "7", unbilledRows: 0, overbilledUsd: "0", differenceUsd: "0" },
  });
});

test("a balance that had to be corrected is named with its cause", async () => {
  const { db } = database;
  await db
    .insertInto("balance_reconciliations")
    .values({
      org_id: "org_a",
      trigger: "scheduled",
      before_credits: "100",
      remote_credits: "70",
      unposted_credits: "0",
      uncertain_credits: "0",
      after_credits: "70",
      grant_credits: "0",
      drift_credits: "30",
      severity: "warn",
      cause: "sink_took_more",
      reconciled_at: new Date(),
    })
    .execute();

  expect(await getOperatorStatus(db)).toMatchObject({
    problems: [{ code: "drift", message: expect.stringMatching(/org_a by 30 credits: sink_took_more/) }],
    balances: { drifts: 1, driftCredits: "30" },
  });
});

test("the comparison can be narrowed to recent requests", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.1", ageMs: 3 * 86_400_000 }, { spendUsd: "0.2" }]);

  expect(await checkCompleteness(database.db, { from: new Date(Date.now() - 86_400_000) })).toMatchObject({
    sourceRows: 1,
    sourceUsd: "0.2",
  });
});

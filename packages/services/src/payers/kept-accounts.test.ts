import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { takeAutumnWebhook } from "../autumn-webhooks/index.ts";
import { createAutumnBalances } from "../balance/autumn-balances.ts";
import { listReadOrgs, readReconciliations, writeAllRates } from "../balance/db.ts";
import { reconcileBalance, reconcileBalances, reconcileDueOrgs, requestReconcile } from "../balance/reconcile-balance.ts";
import { listOrgsNearZero, listOrgsToMove, readGate } from "../billing-gate/db.ts";
import { checkBillingGate, moveDueOrgs } from "../billing-gate/gate.ts";
import { changeOrgSettings, resumeOrg, suspendOrg } from "../billing-gate/settings.ts";
import { reconcileDeliveries } from "../comparison/reconcile-deliveries.ts";
import { admitSession } from "../key-budgets/admission.ts";
import { decideBudgets, writeLimit } from "../key-budgets/db.ts";
import { explainBilling } from "../reports/explain.ts";
import { describeOrg } from "../reports/org-report.ts";
import { readBalances, readDelivery } from "../reports/status-db.ts";
import { readBatchStates, readOpenEvents } from "../reports/usage-db.ts";
import { redriveBatch } from "../settlement/settlement-db.ts";
import { requestFlush } from "../settlement/settlement-circuit-db.ts";
import { reviveOrgs } from "../settlement/revive-orgs.ts";
import { settle } from "../settlement/settlement.ts";
import { createAutumnSink } from "../sinks/autumn/autumn.ts";
import type { SettlementSink } from "../sinks/port/sink.ts";
import { createAutumnTopUpProvider } from "../top-up/autumn-top-up.ts";
import { listOrgsWithPolicy } from "../top-up/db.ts";
import { setTopUpPolicy } from "../top-up/policy.ts";
import { topUpDueOrgs } from "../top-up/top-up.ts";
import { RATE, spend } from "../../test/test-balances.ts";
import { checkInvariant, checkLedger } from "../../test/test-ledger.ts";

let database: TestDatabase;
let autumn: AutumnEmulator;
let sink: SettlementSink;
let org = 0;
let orgId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator();
  sink = createAutumnSink(settings());
});
afterAll(async () => {
  await database.drop();
  await autumn.stop();
});
beforeEach(() => {
  // Another each time, as Autumn remembers the keys of its batches.
  orgId = `org_kept_${(org += 1)}`;
  autumn.grant(orgId, "30");
});
afterEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, org_gates, billing_accounts, settlement_batches, settlement_circuits, settlement_org_backoff,
    top_up_policies, top_ups, key_reservations, balance_reconciliations cascade`.execute(database.db);
});

const settings = () => ({ secretKey: "am_sk_test", serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits", timeoutMs: 5_000 });
const remote = () => createAutumnBalances(settings());
const keep = () => changeOrgSettings(database.db, orgId, { mode: "kept" });
const settleAll = () => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });

/** Everything that ever asks the sink about somebody, or tells it. */
async function everythingThatAsks(): Promise<void> {
  const { db } = database;
  const reconcile = (id: string) => reconcileBalance(db, id, { remote: remote(), rate: RATE, trigger: "top_up" });
  await requestFlush(db, orgId);
  await settleAll();
  for (const { batch_id: batchId } of await db.selectFrom("settlement_batches").select("batch_id").execute())
    await redriveBatch(db, batchId);
  await settleAll();
  await reviveOrgs(db, { sink });
  await takeAutumnWebhook(db, { type: "customer.products.updated", data: { customer_id: orgId } });
  await reconcileDueOrgs(db, { remote: remote(), rate: RATE, everyMs: 0, outOfCreditsMs: 0 });
  await reconcileBalances(db, { remote: remote(), rate: RATE });
  await reconcileBalances(db, { remote: remote(), rate: RATE, orgId });
  await reconcileBalances(db, { remote: remote(), rate: RATE, orgId, dryRun: true });
  await topUpDueOrgs(db, { provider: createAutumnTopUpProvider(settings()), reconcile });
  if (sink.ledger === undefined) throw new Error("the sink has no ledger");
  for (const openOnly of [false, true])
    await reconcileDeliveries(db, sink.ledger, { dryRun: false, quietMs: 0, openOnly, corrections: "apply" });
  await moveDueOrgs(db);
  await checkBillingGate(db, orgId, "session_start");
}

const callsOf = (since: number): readonly string[] =>
  autumn.calls.slice(since).flatMap((call) => (call.customerId === orgId ? [call.path] : []));

test("nothing of a kept account reaches the sink, whatever asks: outbox, redrive, revival, webhook, readings, packs, comparisons", async () => {
  await changeOrgSettings(database.db, orgId, {});
  await requestReconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "0.05" });
  const before = autumn.calls.length;
  await everythingThatAsks();
  // What is counted below is there to be counted.
  expect(new Set(callsOf(before)).size).toBeGreaterThanOrEqual(3);
  await setTopUpPolicy(database.db, orgId, { planId: "top_up", packCredits: "500", thresholdCredits: "1000000" });
  await sql`insert into settlement_org_backoff (org_id, failure_count, retry_at, error_code) values (${orgId}, 1, billing_now(), 'no_balance')`.execute(
    database.db,
  );
  const [quiet, delivered] = [autumn.calls.length, autumn.deducted(orgId)];

  expect((await keep()).state).toBe("active");
  await spend(database.db, { orgId, usd: "7" });
  await everythingThatAsks();
  await spend(database.db, { orgId, usd: "0.0001" });
  await everythingThatAsks();

  expect(callsOf(quiet)).toEqual([]);
  expect(autumn.deducted(orgId)).toBe(delivered);
  expect(await describeOrg(database.db, orgId)).toMatchObject({
    mode: "kept",
    state: "active",
    keptCredits: "2100.03",
    balanceCredits: null,
    unpostedCredits: "0",
    openCredits: "0",
  });
  await checkInvariant(database.db);
  await checkLedger(database.db);
});

test("what is kept is neither open, due, late, low nor to be moved, in what status, metrics and alerts are made of", async () => {
  await keep();
  const read = async () =>
    JSON.stringify([
      await readOpenEvents(database.db),
      await readDelivery(database.db),
      await readBatchStates(database.db),
      await readBalances(database.db),
      await listOrgsNearZero(database.db),
      await listOrgsToMove(database.db),
      await listReadOrgs(database.db, 10),
      await listOrgsWithPolicy(database.db, 10),
      await readReconciliations(database.db, null, 10),
    ]);
  const before = await read();

  await spend(database.db, { orgId, usd: "12" });
  await settleAll();

  expect(await read()).toBe(before);
  const { request_id: requestId } = await database.db.selectFrom("billing_events").select("request_id").executeTakeFirstOrThrow();
  expect(await explainBilling(database.db, requestId)).toMatchObject({
    events: [{ is_kept: true, credits: "3600" }],
    batches: [],
    verdict: expect.stringContaining("never sent"),
  });
});

test("an account that becomes settled again begins at its newest event: what was kept stays kept", async () => {
  await keep();
  await spend(database.db, { orgId, usd: "1" });
  await changeOrgSettings(database.db, orgId, { mode: "settled" });
  expect(await readGate(database.db, orgId)).toMatchObject({ state: "unconfigured", balance_credits: null });
  await reconcileDueOrgs(database.db, { remote: remote(), rate: RATE });
  expect(await readGate(database.db, orgId)).toMatchObject({ state: "active" });
  const taken = Number(autumn.deducted(orgId));

  await spend(database.db, { orgId, usd: "0.01" });
  await settleAll();

  expect(Number(autumn.deducted(orgId)) - taken).toBeCloseTo(3, 9);
  expect(await describeOrg(database.db, orgId)).toMatchObject({ mode: "settled", keptCredits: "300", unpostedCredits: "0" });
  await checkInvariant(database.db);
  await checkLedger(database.db);
});

test.each([
  ["open events", "1 open events", async () => spend(database.db, { orgId, usd: "0.01" })],
  ["a batch that is parked", "1 batches that are not delivered", async () => batchInState("state = 'parked'")],
  [
    "a delivery without confirmation",
    "1 deliveries that the sink's record has not confirmed",
    async () => batchInState("deducted_credits = null"),
  ],
  [
    "a difference from the sink's record",
    "1 differences from the sink's record",
    async () => {
      await batchInState("deducted_credits = credits");
      await sql`insert into delivery_findings (batch_id, kind, org_id, expected_credits, message, first_seen_at, last_seen_at)
        select batch_id, 'lost_deduction', org_id, credits, 'lost', now(), now() from settlement_batches`.execute(database.db);
    },
  ],
  [
    "a pack under way",
    "1 packs that are being bought",
    async () => {
      await setTopUpPolicy(database.db, orgId, { planId: "top_up", packCredits: "500" });
      await sql`insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, next_attempt_at, started_at)
        values (gen_random_uuid(), ${orgId}, '2026-11', 1, 'tu:kept', 'top_up', 500, now(), now())`.execute(database.db);
    },
  ],
])("an account with %s cannot become kept, and nothing of the change happens", async (_what, named, prepare) => {
  await prepare();

  await expect(changeOrgSettings(database.db, orgId, { mode: "kept", minCredits: "77" })).rejects.toMatchObject({
    code: "account_mode_refused",
    message: expect.stringContaining(named),
  });

  const gate = await readGate(database.db, orgId);
  expect([gate?.mode ?? "settled", gate?.min_credits ?? "11"]).toEqual(["settled", "11"]);
});

/** One batch, delivered and then changed: `state` only where the trigger allows it, so before it was delivered. */
async function batchInState(change: string): Promise<void> {
  await changeOrgSettings(database.db, orgId, {});
  await spend(database.db, { orgId, usd: "0.01" });
  await settle(database.db, {
    sink: {
      name: "scripted",
      deliver: async ({ credits }) => (change.includes("parked") ? { kind: "parked" } : { kind: "delivered", deductedCredits: credits }),
    },
  });
  if (!change.includes("parked")) await sql`update settlement_batches set ${sql.raw(change)}`.execute(database.db);
}

test("the database refuses open events and a balance of a kept account, whatever statement forgets the mode", async () => {
  await keep();
  for (const change of ["last_event_id = 7, open_event_count = 1, open_credits = 1", "balance_credits = 5"])
    await expect(sql`update billing_accounts set ${sql.raw(change)} where org_id = ${orgId}`.execute(database.db)).rejects.toThrow(
      "billing_accounts_kept_check",
    );
});

test("sessions of a kept account start without a balance, within its own limit of sessions and the caller's of the key; suspended they do not", async () => {
  await keep();
  await writeAllRates(database.db, RATE);
  const admit = (sessionId: string, limitUsd?: string) =>
    admitSession(database.db, {
      orgId: orgId,
      sessionId,
      keyGeneration: 1,
      operation: "session_start",
      ...(limitUsd !== undefined && { limitUsd }),
    });
  expect(await admit("limited", "2.5")).toBe("2.5");
  expect(Number(await admit("unlimited"))).toBeGreaterThan(1_000_000);

  await writeLimit(database.db, "limited", 1, "4");
  await decideBudgets(database.db, orgId);
  const budgets = await sql<{
    usd: string;
  }>`select trim_scale(budget_usd) as usd from key_reservations where session_id = 'limited'`.execute(database.db);
  expect(budgets.rows).toEqual([{ usd: "4" }]);

  await changeOrgSettings(database.db, orgId, { maxSessions: 2 });
  await expect(admit("third")).rejects.toMatchObject({ code: "concurrent_session_limit" });
  await suspendOrg(database.db, orgId, "abuse");
  await expect(checkBillingGate(database.db, orgId, "cli_connect")).rejects.toMatchObject({ code: "billing_state_blocked" });
  expect((await resumeOrg(database.db, orgId)).state).toBe("active");
});

test("a kept account buys no packs, and a policy for one is refused", async () => {
  await keep();
  await expect(setTopUpPolicy(database.db, orgId, { planId: "top_up", packCredits: "500" })).rejects.toMatchObject({
    code: "account_mode_refused",
  });
});

test("a reading that was under way when the account became kept is not booked", async () => {
  await changeOrgSettings(database.db, orgId, {});
  const reading = await reconcileBalance(database.db, orgId, {
    remote: {
      readBalance: async (id) => {
        const balance = await remote().readBalance(id);
        await keep();
        return balance;
      },
    },
    rate: RATE,
    trigger: "on_demand",
  });

  expect(reading).toMatchObject({ outcome: "kept" });
  expect(await readGate(database.db, orgId)).toMatchObject({ balance_credits: null, reconciled_at: null, state: "active" });
});

import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAutumnSink } from "./autumn.ts";
import { decideBatch } from "../../decisions/decide-batch.ts";
import { reconcileDeliveries, type ReconcileDeliveriesOptions } from "../../comparison/reconcile-deliveries.ts";
import { settle } from "../../settlement/settlement.ts";
import { redriveBatch } from "../../settlement/settlement-db.ts";
import type { SettlementSink } from "../port/sink.ts";
import { syncSpend } from "../../billing/spend-sync.ts";
import { insertSpendRows, readLedgerSums, type SpendRow } from "../../../test/test-ledger.ts";

/** What the real server was seen to do that its first emulator did not: from spend rows to what is on record. */
let database: TestDatabase;
let autumn: AutumnEmulator;
let sink: SettlementSink;
const SECRET_KEY = "am_sk_test_real";
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, org_gates, settlement_batches, settlement_circuits cascade`.execute(
    database.db,
  );
  autumn = await startAutumnEmulator({ secretKey: SECRET_KEY });
  sink = sinkWith("overflow");
});
afterEach(() => autumn.stop());

const sinkWith = (overage: "overflow" | "cap"): SettlementSink =>
  createAutumnSink({
    secretKey: SECRET_KEY,
    serverUrl: autumn.url,
    apiVersion: "2.3.0",
    featureId: "credits",
    client: "http",
    overage,
    timeoutMs: 2_000,
  });

async function spend(...rows: readonly SpendRow[]): Promise<void> {
  await insertSpendRows(database.db, rows);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
}
const pass = () => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });
const reconcile = async (options: Partial<ReconcileDeliveriesOptions> = {}) => {
  if (!sink.ledger) throw new Error("the sink has a record");
  return reconcileDeliveries(database.db, sink.ledger, { dryRun: false, quietMs: 0, corrections: "apply", ...options });
};
const readBatches = () => database.db.selectFrom("settlement_batches").selectAll().orderBy("org_id").orderBy("sequence").execute();
const readStates = async () => (await readBatches()).map((batch) => batch.state);
const letOrgsAsk = () => sql`update settlement_org_backoff set retry_at = billing_now()`.execute(database.db);
const operator = { name: "somebody", via: "test", reason: "looked at Autumn" };

describe("autumn H1: a deduction that never happened is not given back", () => {
  it("to a customer whose balance came after the first batch", async () => {
    autumn.createCustomer("org_a");
    await spend({ spendUsd: "0.01" });
    await pass();
    autumn.grant("org_a", "100");
    const [batch] = await readBatches();
    await redriveBatch(database.db, batch?.batch_id ?? "");
    await pass();

    expect((await reconcile()).findings).toEqual([]);
    expect([autumn.deducted("org_a"), autumn.remaining("org_a")]).toEqual(["3", "97"]);
  });

  it("to a customer that a cap left short", async () => {
    sink = sinkWith("cap");
    autumn.grantPlan("org_a", { planId: "pro", granted: "3" });
    await spend({ spendUsd: "0.012" });
    await pass();
    await spend({ spendUsd: "0.012" });
    await pass();
    autumn.grant("org_a", "100");

    expect((await reconcile()).findings).toEqual([]);
    expect([await readStates(), autumn.deducted("org_a"), autumn.remaining("org_a")]).toEqual([["shortfall", "shortfall"], "3", "100"]);
  });
});

describe("autumn H2: a list and a balance that contradict each other move nothing", () => {
  beforeEach(async () => {
    autumn.grant("org_a", "1000");
    await spend({ spendUsd: "0.1" });
    await pass();
  });

  it("when the list lost the event of a delivery: a person decides, and that stays", async () => {
    autumn.loseEvents("org_a", 1);

    expect((await reconcile()).findings).toMatchObject([{ kind: "unresolved", foundCredits: "0", correctionCredits: null }]);
    expect(autumn.deducted("org_a")).toBe("30");

    const [batch] = await readBatches();
    expect(await decideBatch(database.db, batch?.batch_id ?? "", { wasTaken: true, operator })).toMatchObject({
      decided: true,
      state: "delivered",
    });
    expect((await reconcile()).findings).toEqual([]);
  });

  it("when the balance lost what the list shows, and a later double charge is still found and given back", async () => {
    autumn.loseDeductions("org_a", "30");
    expect((await reconcile()).findings).toEqual([]);
    await spend({ spendUsd: "0.2" });
    autumn.failNext({ kind: "status_after_apply", status: 500 });
    await pass();
    await pass();

    expect((await reconcile()).findings).toMatchObject([{ kind: "double_charge", correctionCredits: "-60", correction: "applied" }]);
    expect(autumn.remaining("org_a")).toBe("940");
  });

  it("when the list lost the event, and usage began anew with another balance: that is no proof of absence", async () => {
    autumn.loseEvents("org_a", 1);
    autumn.loseDeductions("org_a", "30");

    expect((await reconcile()).findings).toMatchObject([{ kind: "unresolved", message: expect.stringContaining("balances") }]);
  });

  it("but both without a delivery, of balances that were noted before, is one that was lost", async () => {
    await reconcile();
    await spend({ spendUsd: "0.2" });
    await pass();
    autumn.loseEvents("org_a", 1);
    autumn.loseDeductions("org_a", "60");

    expect((await reconcile()).findings).toMatchObject([{ kind: "lost_deduction", correctionCredits: "60", correction: "applied" }]);
    expect(autumn.remaining("org_a")).toBe("910");
  });

  it("and what may have been taken long ago is not sent again on the word of the list alone", async () => {
    await spend({ spendUsd: "0.2" });
    autumn.failNext({ kind: "reset_after_apply" });
    await pass();
    autumn.loseEvents("org_a", 1);
    await sql`update settlement_batches set first_sent_at = first_sent_at - interval '25 hours' where state = 'unknown'`.execute(
      database.db,
    );
    await pass();

    expect(await reconcile()).toMatchObject({ redriven: 0, findings: [{ kind: "unresolved" }] });
    await pass();
    expect(autumn.deducted("org_a")).toBe("90");
  });
});

it.each(["33.3333333333357", "41.1522633744", "333.333333333333", "33.5000000000007", "123.456789012001"])(
  "autumn H3: a spend of $%s is delivered in full, and the rest is carried",
  async (spendUsd) => {
    autumn.grant("org_a", "1000000");
    await spend({ spendUsd });
    await pass();

    const sums = await readLedgerSums(database.db);
    expect(await readStates()).toEqual(["delivered"]);
    expect([sums.delivered, autumn.deducted("org_a")]).toEqual([sums.deducted, sums.delivered]);
    expect((await reconcile()).findings).toEqual([]);
  },
);

describe("autumn M1: a server without its analytics store", () => {
  it.each([
    ["taken", "reset_after_apply", "delivered", "2066.4511139867"],
    ["not taken", "reset_before_apply", "sealed", "2036.4511139867"],
  ] as const)("has no list, so usage tells whether a batch was %s, to fourteen digits", async (_, kind, state, deducted) => {
    autumn.refuseLists("no_analytics");
    autumn.grant("org_a", "1000000");
    await spend({ spendUsd: "6.7881703799557" });
    await pass();
    await reconcile();
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind });
    await pass();
    await sql`update settlement_batches set first_sent_at = first_sent_at - interval '25 hours' where state = 'unknown'`.execute(
      database.db,
    );
    await pass();

    expect((await reconcile()).findings).toEqual([]);
    expect([(await readStates())[1], autumn.deducted("org_a")]).toEqual([state, deducted]);
  });
});

describe("autumn M2: a balance that was used up to exactly nothing is gone", () => {
  it("under overflow what is owed is taken by itself once there is another, each batch once", async () => {
    autumn.grant("org_a", "3");
    for (let round = 0; round < 3; round += 1) {
      // The third waits, as the org's back-off has not ended: a pass after it both asks and sends, in either order.
      await spend({ spendUsd: "0.01" });
      await settle(database.db, { sink, retryDelayMs: () => 600_000 });
    }
    expect(await readStates()).toEqual(["delivered", "unapplied", "sealed"]);
    expect(autumn.events.filter((event) => event.pieces.length === 0)).toHaveLength(1);

    autumn.grant("org_a", "100");
    await letOrgsAsk();
    await pass();
    await pass();

    expect([await readStates(), autumn.remaining("org_a")]).toEqual([["delivered", "delivered", "delivered"], "94"]);
    expect((await reconcile()).findings).toEqual([]);
  });

  it("under a cap it is a shortfall, at once and for good", async () => {
    sink = sinkWith("cap");
    autumn.grant("org_a", "5");
    for (const spendUsd of ["0.0133333333", "0.0133333333", "0.0133333333"]) {
      await spend({ spendUsd });
      await pass();
    }

    expect((await readBatches()).map((batch) => [batch.state, batch.deducted_credits, batch.last_error_code])).toEqual([
      ["delivered", "3.99999999", null],
      ["shortfall", "1.00000001", "shortfall"],
      ["shortfall", "0", "used_up"],
    ]);
  });

  it("autumn M5: a plan that comes after the first batch needs nobody", async () => {
    autumn.createCustomer("org_a");
    await spend({ spendUsd: "0.01" });
    await pass();
    autumn.grantPlan("org_a", { planId: "pro", granted: "100" });
    await letOrgsAsk();

    expect(await pass()).toMatchObject({ revived: 1, delivered: 1 });
    expect(autumn.deducted("org_a")).toBe("3");
  });
});

it("autumn M4: what a cap did not cover leaves the org's own balance and what is unposted", async () => {
  sink = sinkWith("cap");
  autumn.grantPlan("org_a", { planId: "pro", granted: "3" });
  await spend({ spendUsd: "0.024" });
  await sql`update billing_accounts set balance_credits = -4.2`.execute(database.db);
  await pass();

  const { rows } = await sql<{ balance: string; certain: string; uncertain: string }>`
    select trim_scale(balance_credits) as balance, trim_scale(certain_credits) as certain, trim_scale(uncertain_credits) as uncertain from billing_accounts join billing_unposted using (org_id)`.execute(
    database.db,
  );
  expect(rows).toEqual([{ balance: "0", certain: "0", uncertain: "0" }]);
});

it.each([305, 1_000])("autumn ids: a team of %i characters is billed to the customer of its id", async (length) => {
  const orgId = "t".repeat(length);
  autumn.grant(orgId, "100");
  await spend({ orgId, spendUsd: "0.01" });
  await pass();

  expect([await readStates(), autumn.deducted(orgId)]).toEqual([["delivered"], "3"]);
});

it("public bug 55: 202 is not delivered until its key is refused as known, and that is unconfirmed until Autumn's own record shows it", async () => {
  autumn.grant("org_a", "100");
  await spend({ spendUsd: "0.01" });
  autumn.failNext({ kind: "accept" });
  await pass();
  expect(await readStates()).toEqual(["unknown"]);
  autumn.drainQueue();
  await pass();
  expect(await readBatches()).toMatchObject([{ state: "delivered", deducted_credits: null }]);

  expect(await reconcile()).toMatchObject({ confirmed: 1, findings: [] });
  expect(await readBatches()).toMatchObject([{ state: "delivered", deducted_credits: "3" }]);
});

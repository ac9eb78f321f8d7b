import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAutumnSink } from "../sinks/autumn/autumn.ts";
import { reconcileDeliveries, type ReconcileDeliveriesOptions } from "./reconcile-deliveries.ts";
import { settle } from "../settlement/settlement.ts";
import type { SettlementLedgerView, SettlementSink } from "../sinks/port/sink.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { checkLedger, insertSpendRows, readLedgerSums, type SpendRow } from "../../test/test-ledger.ts";

const SECRET_KEY = "am_sk_test_reconcile";

let database: TestDatabase;
let autumn: AutumnEmulator;
let sink: SettlementSink;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches, settlement_circuits cascade`.execute(
    database.db,
  );
  autumn = await startAutumnEmulator({ secretKey: SECRET_KEY });
  autumn.grant("org_a", "1000");
  autumn.grant("org_b", "1000");
  sink = createAutumnSink({ secretKey: SECRET_KEY, serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits", timeoutMs: 1_500 });
});
afterEach(() => autumn.stop());

async function spend(...rows: readonly SpendRow[]): Promise<void> {
  await insertSpendRows(database.db, rows);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
}

const ledger = (): SettlementLedgerView => {
  if (!sink.ledger) throw new Error("the sink has no ledger");
  return sink.ledger;
};
const pass = () => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });
const reconcile = (options: Partial<ReconcileDeliveriesOptions> = {}, view = ledger()) =>
  reconcileDeliveries(database.db, view, { dryRun: false, quietMs: 0, ...options });
const readBatches = () => database.db.selectFrom("settlement_batches").selectAll().orderBy("org_id").orderBy("sequence").execute();
const readFindings = () => database.db.selectFrom("delivery_findings").selectAll().execute();
const outlast = () =>
  sql`update settlement_batches set first_sent_at = first_sent_at - interval '25 hours' where state = 'unknown'`.execute(database.db);
/** A first delivery, and a comparison that finds nothing amiss: from here on the sum of usage is of balances that were noted. */
async function noteBalances(): Promise<void> {
  await spend({ spendUsd: "0.2" });
  await pass();
  expect(await reconcile()).toMatchObject({ comparedBatches: 1, findings: [] });
}
/** A view of the same Autumn without its list of events. */
const withoutList = (): SettlementLedgerView => ({ ...ledger(), listDeductions: async () => undefined });

describe("pitfall 09, 5xx after apply or key store open: a double deduction", () => {
  beforeEach(async () => {
    await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });
    autumn.fail((call) => call.customerId === "org_a" && !autumn.events.some((event) => event.customerId === "org_a"), {
      kind: "status_after_apply",
      status: 500,
    });
    await pass();
    await pass();
  });

  it("is found and named with its exact amount, and a dry run changes nothing", async () => {
    expect(autumn.deducted("org_a")).toBe("60");

    const { findings, comparedBatches } = await reconcile({ dryRun: true });

    const [batch] = await readBatches();
    expect(comparedBatches).toBe(2);
    expect(findings).toEqual([
      {
        orgId: "org_a",
        batchId: batch?.batch_id,
        kind: "double_charge",
        expectedCredits: "30",
        foundCredits: "60",
        correctionCredits: "-30",
        correction: null,
        message: expect.stringContaining("30 too much"),
      },
    ]);
    expect(autumn.deducted("org_a")).toBe("60");
    expect(await readFindings()).toEqual([]);
  });

  it("is noted and left to a person unless corrections are asked for", async () => {
    await reconcile();

    expect(await readFindings()).toMatchObject([{ kind: "double_charge", expected_credits: "30", found_credits: "60", resolved_at: null }]);
    expect(autumn.deducted("org_a")).toBe("60");
  });

  it("is given back once, whatever is repeated and whichever answer is lost", async () => {
    autumn.failNext({ kind: "reset_after_apply" });

    expect((await reconcile({ corrections: "apply" })).findings).toMatchObject([{ correction: "open" }]);
    expect((await reconcile({ corrections: "apply" })).findings).toEqual([]);

    expect(autumn.deducted("org_a")).toBe("30");
    expect(await readFindings()).toEqual([expect.objectContaining({ resolved_at: expect.any(Date) })]);
    await checkLedger(database.db);
  });

  it("is not concluded from while the sink's list may lack what is recent", async () => {
    expect((await reconcile({ dryRun: true, quietMs: 600_000 })).findings).toEqual([]);
  });
});

describe("pitfall 08, key forgotten after a long outage", () => {
  it("a deduction whose answer was lost counts as delivered by Autumn's own record, and is never sent again", async () => {
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind: "reset_after_apply" });
    await pass();
    await outlast();
    expect(await pass()).toMatchObject({ flagged: 1, delivered: 0 });

    expect(await reconcile()).toMatchObject({ confirmed: 1, redriven: 0, findings: [] });
    await pass();

    expect(await readBatches()).toMatchObject([{ state: "delivered", deducted_credits: "30", needs_reconcile: false }]);
    expect(autumn.deducted("org_a")).toBe("30");
  });

  it("what Autumn never took is sent under the next key", async () => {
    await noteBalances();
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind: "hang", applied: false });
    await pass();
    await outlast();
    await pass();

    expect(await reconcile()).toMatchObject({ confirmed: 0, redriven: 1, findings: [] });
    await pass();

    expect(autumn.deducted("org_a")).toBe("90");
    expect(autumn.calls.filter((call) => call.idempotencyKey?.startsWith("pb:")).at(-1)?.idempotencyKey).toMatch(/^pb:.*\.1$/);
    expect((await readLedgerSums(database.db)).delivered).toBe("90");
  });

  it.each([
    ["with the sink's list", () => ledger()],
    ["without the sink's list", () => withoutList()],
  ])("seed 9864, %s: what was lost before balances were ever noted is for a person, never sent again", async (_, view) => {
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind: "hang", applied: false });
    await pass();
    await outlast();
    await pass();

    expect(await reconcile({}, view())).toMatchObject({ confirmed: 0, redriven: 0, findings: [{ kind: "unresolved" }] });
    await pass();

    expect(await readBatches()).toMatchObject([{ state: "unknown", needs_reconcile: true }]);
    expect(autumn.deducted("org_a")).toBe("0");
  });

  it.each([
    ["all of it was taken", "reset_after_apply", "delivered"],
    ["nothing was taken", "reset_before_apply", "sealed"],
  ] as const)("without a list of events, the customer's usage decides when %s", async (_, kind, state) => {
    await noteBalances();
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind });
    await pass();
    await outlast();
    await pass();

    await reconcile({}, withoutList());

    expect((await readBatches()).map((batch) => batch.state)).toEqual(["delivered", state]);
  });

  it("usage that fits neither leaves the batch as it is, with the reason", async () => {
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind: "hang", applied: false });
    await pass();
    await outlast();
    await pass();

    const { findings } = await reconcile(
      {},
      { ...withoutList(), readUsage: async () => ({ balanceIds: "b", credits: "12", grantedCredits: "1000" }) },
    );

    expect(findings).toMatchObject([{ kind: "unresolved", correctionCredits: null, message: expect.stringContaining("12 credits") }]);
    expect(await readBatches()).toMatchObject([{ state: "unknown", needs_reconcile: true }]);
  });

  it("one org whose record cannot be read is reported and does not stop the others", async () => {
    await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });
    autumn.failNext({ kind: "reset_after_apply" }, { kind: "reset_after_apply" });
    await pass();
    await outlast();
    await pass();
    const view = ledger();
    const failing: SettlementLedgerView = {
      ...view,
      listDeductions: async (orgId, since) => {
        if (orgId === "org_a") throw new Error("am_sk_live_secret was refused");
        return view.listDeductions(orgId, since);
      },
    };

    const result = await reconcile({}, failing);

    expect(result).toMatchObject({ confirmed: 1, findings: [{ orgId: "org_a", kind: "unresolved" }] });
    expect(JSON.stringify([result, await readFindings()])).not.toContain("am_sk_live");
  });
});

describe("pitfall 10, queued then dropped", () => {
  it("a deduction that Autumn queued and lost counts as delivered by its key, and the comparison finds it missing and makes it good", async () => {
    await noteBalances();
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind: "accept" });
    await pass();
    autumn.dropQueue();
    await pass();
    expect(await readBatches()).toMatchObject([{ deducted_credits: "60" }, { state: "delivered", deducted_credits: null }]);
    expect(autumn.deducted("org_a")).toBe("60");

    expect((await reconcile({ dryRun: true })).findings).toMatchObject([
      { kind: "lost_deduction", foundCredits: "0", correctionCredits: "30" },
    ]);
    expect((await reconcile({ corrections: "apply" })).findings).toMatchObject([{ correction: "applied" }]);
    expect(await reconcile()).toMatchObject({ confirmed: 1, findings: [] });

    expect(autumn.deducted("org_a")).toBe("90");
    expect(await readBatches()).toMatchObject([{ deducted_credits: "60" }, { state: "delivered", deducted_credits: "30" }]);
  });
});

it("a claim that outlived its server (pitfall 07, claimed but never applied) is found among the deliveries", async () => {
  await noteBalances();
  await spend({ spendUsd: "0.1" });
  autumn.failNext({ kind: "reset_before_apply" });
  await pass();
  await pass();

  expect((await reconcile()).findings).toMatchObject([{ kind: "lost_deduction", expectedCredits: "30", foundCredits: "0" }]);
});

it("a look at what is open alone leaves settled batches to the full comparison", async () => {
  await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });
  autumn.fail((call) => call.customerId === "org_a", { kind: "reset_after_apply" });
  await pass();
  await pass();

  expect(await reconcile({ openOnly: true })).toEqual({ comparedBatches: 1, confirmed: 1, redriven: 0, findings: [] });
  expect(await reconcile({ openOnly: true })).toMatchObject({ comparedBatches: 0 });
  expect(await reconcile()).toMatchObject({ comparedBatches: 2 });
});

it("an org whose books agree has no findings", async () => {
  for (let round = 0; round < 3; round += 1) {
    await spend({ spendUsd: "0.1" });
    await pass();
  }

  expect(await reconcile()).toEqual({ comparedBatches: 3, confirmed: 0, redriven: 0, findings: [] });
});

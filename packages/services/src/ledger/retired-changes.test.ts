import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, it } from "vitest";
import { explainBilling } from "../reports/explain.ts";
import { seedRateCard } from "../rates/rate-cards.ts";
import { dismiss, redrive } from "../decisions/redrive.ts";
import { retireMonth } from "./retention.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { checkCompleteness, getOperatorStatus } from "../reports/status.ts";
import { checkInvariant, checkLedger, insertSpendRows, readLedgerSums } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { tamper } from "../../test/test-tampering.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };

let database: TestDatabase;
let sink: ScriptedSink;
/** A request of half a dollar that is delivered, and whose month has left the ledger. */
beforeEach(async () => {
  database = await createTestDatabase();
  sink = new ScriptedSink();
  await seedRateCard(database.db, RATE);
  await insertSpendRows(database.db, [{ requestId: "old", spendUsd: "0.5" }]);
  await sync();
  await settle(database.db, { sink });
  await sql`create table billing_events_2025_03 partition of billing_events for values from ('2025-03-01T00:00:00Z') to ('2025-04-01T00:00:00Z')`.execute(
    database.db,
  );
  await tamper(database.db, sql`update billing_events set recorded_at = '2025-03-10T00:00:00Z'`);
  await sql`update billing_event_keys set recorded_at = '2025-03-10T00:00:00Z'`.execute(database.db);
  await retireMonth(database.db, "2025-03");
});
afterEach(() => database.drop());

const sync = () => syncSpend(database.db, { rate: RATE, fullSweep: true });
const setSpend = (usd: string) => sql`update "LiteLLM_SpendLogs" set spend = ${usd}::float8 where request_id = 'old'`.execute(database.db);
const openReviews = () =>
  database.db
    .selectFrom("spend_reviews")
    .select(["review_key", "reason", "spend_usd", "org_id"])
    .where("resolved_at", "is", null)
    .execute();
const completeness = () => checkCompleteness(database.db);

/** What must hold whatever is in review. */
async function checkSums(): Promise<void> {
  await checkLedger(database.db);
  await checkInvariant(database.db);
  expect(await completeness()).toMatchObject({ unbilledUsd: "0", overbilledUsd: "0", differenceUsd: "0" });
}

it.each([
  ["0.7", "0.2", "0.2 USD more"],
  ["0.1", "-0.4", "0.4 USD less"],
])(
  "a source that says %s later stands in review with the difference, is told by status and explain, and is not called unbilled",
  async (usd, difference, words) => {
    await setSpend(usd);

    expect(await sync()).toMatchObject({ events: 0, reviews: 1 });
    expect(await sync()).toMatchObject({ events: 0, reviews: 0 });

    expect(await openReviews()).toEqual([
      { review_key: `retired:old:${usd}`, reason: "retired_month", spend_usd: difference, org_id: "org_a" },
    ]);
    expect(await completeness()).toMatchObject({ sourceUsd: usd, billedUsd: "0.5", reviewUsd: difference, reviewRows: 1 });
    expect((await getOperatorStatus(database.db)).problems).toMatchObject([
      { code: "needs_review", message: expect.stringContaining("1 retired_month") },
    ]);
    expect((await explainBilling(database.db, "old")).verdict).toMatch(
      new RegExp(`2025-03\\. Since then the source says ${words}: billing redrive retired:old:${usd}`),
    );
    await checkSums();
  },
);

it("its difference is billed to the org that a person names, once, and a later one is measured by what is billed then", async () => {
  await setSpend("0.7");
  await sync();
  expect(await redrive(database.db, "retired:old:0.7", { orgId: "org_a" })).toMatchObject({ redriven: true, state: "billed" });
  expect(await redrive(database.db, "retired:old:0.7", { orgId: "org_a" })).toMatchObject({ redriven: false });
  expect(await readLedgerSums(database.db)).toMatchObject({ events: "60", open: "60" });
  expect(await completeness()).toMatchObject({ billedUsd: "0.7", reviewUsd: "0" });
  await checkSums();

  await setSpend("0.8");
  await sync();
  expect(await openReviews()).toMatchObject([{ review_key: "retired:old:0.8", spend_usd: "0.1" }]);
  expect((await explainBilling(database.db, "old")).events).toMatchObject([
    { idempotency_key: "retired:old:0.7", request_id: "old", credits: "60" },
  ]);
  await checkSums();
});

it("of several amounts the last one stands, and a dismissed one is not raised again", async () => {
  await setSpend("0.7");
  await sync();
  await setSpend("0.9");
  await sync();
  expect(await openReviews()).toMatchObject([{ review_key: "retired:old:0.9", spend_usd: "0.4" }]);
  await dismiss(database.db, "retired:old:0.9");
  expect(await sync()).toMatchObject({ reviews: 0 });
  expect(await openReviews()).toEqual([]);
  expect((await getOperatorStatus(database.db)).problems).toEqual([]);
  await checkSums();
});

it("a refund of it stands in review, and is given back when a person names the org", async () => {
  await insertSpendRows(database.db, [{ requestId: "old:correction", spendUsd: "-0.2" }]);
  expect(await sync()).toMatchObject({ events: 0, reviews: 1 });
  expect(await openReviews()).toMatchObject([{ review_key: "id:old:correction", reason: "retired_month" }]);
  expect(await redrive(database.db, "id:old:correction", { orgId: "org_a" })).toMatchObject({ redriven: true });
  expect(await readLedgerSums(database.db)).toMatchObject({ events: "-60" });
  expect(await sync()).toMatchObject({ events: 0, reviews: 0 });
  await checkSums();
});

it("its batch, without events by now, is no imbalance, over all time and over two days", async () => {
  expect((await getOperatorStatus(database.db)).unbalancedOrgs).toEqual([]);
  expect((await getOperatorStatus(database.db, { from: new Date(Date.now() - 172_800_000) })).unbalancedOrgs).toEqual([]);
});

it("a request whose event left the ledger is explained as billed, also when its spend row is gone", async () => {
  expect((await explainBilling(database.db, "old")).verdict).toBe(
    "Billed, and delivered; its event left the ledger with the month 2025-03.",
  );
  await sql`truncate "LiteLLM_SpendLogs"`.execute(database.db);
  expect((await explainBilling(database.db, "old")).verdict).toContain("2025-03");
});

it("a month that holds what is not delivered names whose it is and in which batch", async () => {
  await sql`create table billing_events_2025_05 partition of billing_events for values from ('2025-05-01T00:00:00Z') to ('2025-06-01T00:00:00Z')`.execute(
    database.db,
  );
  await insertSpendRows(database.db, [
    { requestId: "open", orgId: "org_open" },
    { requestId: "parked", orgId: "org_parked" },
  ]);
  await sync();
  sink.script = () => ({ kind: "parked" });
  await settle(database.db, { sink, orgIds: ["org_parked"] });
  await tamper(database.db, sql`update billing_events set recorded_at = '2025-05-10T00:00:00Z'`);
  const { batch_id: batchId } = await database.db
    .selectFrom("settlement_batches")
    .select("batch_id")
    .where("org_id", "=", "org_parked")
    .executeTakeFirstOrThrow();

  await expect(retireMonth(database.db, "2025-05")).rejects.toThrow(
    `1 of its events are in no batch (org_open 1); 1 of its events are in batches that are not delivered (${batchId} of org_parked is parked)`,
  );
});

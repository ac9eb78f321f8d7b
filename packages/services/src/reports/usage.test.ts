import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { sealOpenEvents, settle } from "../settlement/settlement.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows, type SpendRow } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { getBillingStatus, getOrgUsage, listLedger } from "./usage.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(database.db);
});

async function spend(...rows: readonly SpendRow[]): Promise<void> {
  await insertSpendRows(database.db, rows);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
}

it("sums an org's usage by model and by session, dearest first, exactly", async () => {
  await spend(
    { spendUsd: "0.1", model: "small", sessionId: "s1" },
    { spendUsd: "0.2", model: "small", sessionId: "s2" },
    { spendUsd: "1.5", model: "large", sessionId: "s1" },
    { spendUsd: "9", orgId: "org_other" },
    { spendUsd: "0.01", model: "small", sessionId: "" },
  );

  const usage = await getOrgUsage(database.db, "org_a");

  expect(usage).toMatchObject({ orgId: "org_a", requests: 4, promptTokens: 40, completionTokens: 20, spendUsd: "1.81", credits: "543" });
  expect(usage.byModel.map((group) => [group.model, group.spendUsd, group.requests])).toEqual([
    ["large", "1.5", 1],
    ["small", "0.31", 3],
  ]);
  expect(usage.bySession.map((group) => [group.sessionId, group.credits])).toEqual([
    ["s1", "480"],
    ["s2", "60"],
    [null, "3"],
  ]);
});

it("restricts usage to a range of time and to a session", async () => {
  await spend({ spendUsd: "1", ageMs: 7_200_000 }, { spendUsd: "2", ageMs: 60_000, sessionId: "s2" }, { spendUsd: "4", ageMs: 60_000 });
  const anHourAgo = new Date(Date.now() - 3_600_000);

  expect(await getOrgUsage(database.db, "org_a", { from: anHourAgo })).toMatchObject({ spendUsd: "6" });
  expect(await getOrgUsage(database.db, "org_a", { to: anHourAgo })).toMatchObject({ spendUsd: "1" });
  expect(await getOrgUsage(database.db, "org_a", { sessionId: "s2" })).toMatchObject({ spendUsd: "2", requests: 1 });
});

it("has zeros for an org that never spent", async () => {
  expect(await getOrgUsage(database.db, "nobody")).toEqual({
    orgId: "nobody",
    requests: 0,
    promptTokens: 0,
    completionTokens: 0,
    spendUsd: "0",
    credits: "0",
    byModel: [],
    bySession: [],
  });
});

it("pages through a ledger, newest first, without a gap or a repeat", async () => {
  for (let batch = 0; batch < 3; batch += 1) {
    await spend({ spendUsd: "0.1" }, { spendUsd: "0.2" }, { spendUsd: "0.3" });
    await sealOpenEvents(database.db);
  }
  const batches: number[] = [];
  const events: string[] = [];
  let cursor: string | undefined;
  let pages = 0;
  do {
    const page = await listLedger(database.db, "org_a", { limit: 2, ...(cursor ? { cursor } : {}) });
    batches.push(...page.batches.map((batch) => batch.sequence));
    events.push(...page.events.map((event) => event.eventId));
    cursor = page.nextCursor ?? undefined;
    pages += 1;
  } while (cursor && pages < 20);

  expect(batches).toEqual([3, 2, 1]);
  expect(events).toHaveLength(9);
  expect(events).toEqual([...new Set(events)].sort((a, b) => Number(BigInt(b) - BigInt(a))));
});

it("shows the batch that settles an event, and what was deducted", async () => {
  await spend({ spendUsd: "0.1", requestId: "msg_1" });
  await settle(database.db, { sink: new ScriptedSink() });

  const { batches, events, nextCursor } = await listLedger(database.db, "org_a");

  expect(batches).toMatchObject([
    { sequence: 1, state: "delivered", credits: "30", deductedCredits: "30", spendUsd: "0.1", eventCount: 1, attemptCount: 1 },
  ]);
  expect(events).toMatchObject([{ requestId: "msg_1", credits: "30", markup: "3", creditsPerUsd: "100", batchId: batches[0]?.batchId }]);
  expect(nextCursor).toBeNull();
});

it.each(["", "x", "1.2.3", "-1.4", "99999999999.1", "1.99999999999999999999", "1; drop table billing_events"])(
  "refuses the cursor %j",
  async (cursor) => {
    await expect(listLedger(database.db, "org_a", { cursor })).rejects.toMatchObject({ code: "invalid_request", param: "cursor" });
  },
);

it("tells where every credit is, and what waits for a person", async () => {
  await spend({ spendUsd: "0.1" }, { spendUsd: "0.5", orgId: "org_parked" }, { requestId: "orphan", orgId: "" });
  const sink = new ScriptedSink();
  sink.script = ({ orgId }) => (orgId === "org_parked" ? { kind: "parked", status: 404, code: "customer_not_found" } : undefined);
  await settle(database.db, { sink });
  await spend({ spendUsd: "0.7" });

  const status = await getBillingStatus(database.db);

  expect(status).toMatchObject({
    openEvents: 1,
    openCredits: "210",
    carryCredits: "0",
    batches: { delivered: { batches: 1, credits: "30" }, parked: { batches: 1, credits: "150" }, dead: { batches: 0, credits: "0" } },
    needsReconcile: 0,
    reviews: { no_org: 1, no_request_id: 0, bad_spend: 0 },
  });
  expect(status.oldestUnsettledSeconds).toBeGreaterThanOrEqual(0);
});

it("has nothing unsettled in an empty database", async () => {
  expect(await getBillingStatus(database.db)).toMatchObject({ openEvents: 0, openCredits: "0", oldestUnsettledSeconds: null });
});

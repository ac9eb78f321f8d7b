import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { explainBilling } from "./explain.ts";
import { seedRateCard } from "../rates/rate-cards.ts";
import { dismiss, redrive } from "../decisions/redrive.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { tamper } from "../../test/test-tampering.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
let database: TestDatabase;
let sink: ScriptedSink;
beforeEach(async () => {
  database = await createTestDatabase();
  sink = new ScriptedSink();
});
afterEach(() => database.drop());

const sync = () => syncSpend(database.db, { rate: RATE });
const settleOnce = () => settle(database.db, { sink });

test("explains a delivered request from its spend row to the balance, by request, event, batch and key", async () => {
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.000123", sessionId: "s1" }]);
  await sync();
  await settleOnce();

  const chain = await explainBilling(database.db, "msg_1");

  expect(chain).toMatchObject({
    kind: "request",
    source: { request_id: "msg_1", spend: "0.000123", team_id: "org_a", user_id: "s1" },
    events: [{ org_id: "org_a", markup: "3", arithmetic: { text: "0.000123 USD x 3 x 100 = 0.0369 credits", holds: true } }],
    batches: [
      {
        state: "delivered",
        arithmetic: { text: "0.0369 of 1 events + 0 carried in = 0.0369 to deduct + 0 carried out", holds: true },
        attempts: [{ attempt: 1, outcome: "delivered", status: 200 }],
        balance_effect: { before: "0.0369", deducted: "0.0369", after: "0" },
      },
    ],
    verdict: "Delivered: the sink deducted 0.0369 credits.",
  });
  const [event] = chain.events;
  const [batch] = chain.batches;
  for (const id of [`event:${event?.event_id}`, "llm:msg_1"])
    expect(await explainBilling(database.db, id)).toMatchObject({
      kind: "event",
      source: { request_id: "msg_1" },
      batches: [{ batch_id: batch?.batch_id }],
    });
  for (const id of [batch?.batch_id, batch?.idempotency_key, ` batch:${batch?.batch_id} `])
    expect(await explainBilling(database.db, id ?? "")).toMatchObject({ kind: "batch", batches: [{ batch_id: batch?.batch_id }] });
});

test("says at each step how far a request has come", async () => {
  await insertSpendRows(database.db, [{ requestId: "msg_1" }]);
  expect((await explainBilling(database.db, "msg_1")).verdict).toBe("Not billed yet: the next spend sync makes its event.");

  await sync();
  expect((await explainBilling(database.db, "msg_1")).verdict).toBe("Billed to the ledger; the next outbox pass seals it into a batch.");

  sink.script = () => ({ kind: "parked", status: 404, code: "customer_not_found", message: "Customer org_a is unknown." });
  await settleOnce();
  expect((await explainBilling(database.db, "msg_1")).verdict).toMatch(/^Parked .*customer_not_found: Customer org_a is unknown\./);
});

test("says why a spend row is not billed", async () => {
  await insertSpendRows(database.db, [{ requestId: "msg_1", orgId: "" }]);
  await sync();

  expect(await explainBilling(database.db, "msg_1")).toMatchObject({
    source: { team_id: "" },
    reviews: [{ reason: "no_org" }],
    events: [],
    verdict: expect.stringMatching(/needs review \(no_org\)/),
  });
});

test("a stored amount that does not follow from its parts is shown as such", async () => {
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.01" }]);
  await sync();
  await settleOnce();
  await tamper(database.db, sql`delete from billing_events`);

  const batchId = (await sql<{ batch_id: string }>`select batch_id from settlement_batches`.execute(database.db)).rows[0]?.batch_id ?? "";
  const chain = await explainBilling(database.db, batchId);

  expect(chain.batches[0]?.arithmetic).toEqual({
    text: "3 of 1 events + 0 carried in = 3 to deduct + 0 carried out, but its 0 events on the ledger sum to 0 (-3)",
    holds: false,
  });
});

test("an id that names nothing, two things, or an unfinished request is refused with what to do", async () => {
  await insertSpendRows(database.db, [{ requestId: "1" }]);
  await sync();

  await expect(explainBilling(database.db, "msg_none")).rejects.toMatchObject({
    code: "billing_not_found",
    message: expect.stringContaining('"msg_none"'),
  });
  await expect(explainBilling(database.db, "99999999999999999999")).rejects.toMatchObject({ code: "billing_not_found" });
  await expect(explainBilling(database.db, " ")).rejects.toMatchObject({ code: "invalid_request" });
  await expect(explainBilling(database.db, "1")).rejects.toMatchObject({
    code: "invalid_request",
    message: expect.stringContaining("event:1 or request:1"),
  });
  expect(await explainBilling(database.db, "request:1")).toMatchObject({ kind: "request" });
});

async function onlyBatchId(): Promise<string> {
  const { rows } = await sql<{ batch_id: string }>`select batch_id from settlement_batches`.execute(database.db);
  return rows[0]?.batch_id ?? "";
}

test("a parked batch is redriven once, under its next key, however often it is asked", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.01" }]);
  await sync();
  sink.script = () => ({ kind: "parked", status: 404, code: "customer_not_found" });
  await settleOnce();
  const batchId = await onlyBatchId();
  sink.script = () => undefined;

  expect(await redrive(database.db, batchId)).toMatchObject({ redriven: true, state: "sealed" });
  expect(await redrive(database.db, batchId)).toMatchObject({ redriven: false, state: "sealed" });
  await settleOnce();
  expect(await redrive(database.db, batchId)).toMatchObject({ redriven: false, state: "delivered" });
  expect(sink.total()).toBe("3");
  expect(sink.calls.map((call) => call.idempotencyKey.replace(`pb:${batchId}`, ""))).toEqual(["", ".1"]);
});

test("a batch that may have been applied is not redriven, and the refusal says what to do first", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.01" }]);
  await sync();
  sink.script = () => ({ kind: "unapplied", status: 200, code: "shortfall", deductedCredits: "1" });
  await settleOnce();

  await expect(redrive(database.db, await onlyBatchId())).rejects.toMatchObject({
    code: "redrive_refused",
    message: expect.stringContaining("the sink deducted 1 of its 3 credits"),
  });
  await expect(redrive(database.db, "msg_1")).rejects.toMatchObject({ code: "billing_not_found" });
});

test("a row in review is billed to the organization that a person names, once", async () => {
  await insertSpendRows(database.db, [{ requestId: "msg_1", orgId: "", spendUsd: "0.01" }]);
  await sync();
  await expect(redrive(database.db, "msg_1")).rejects.toMatchObject({ code: "invalid_request", param: "org_id" });

  await seedRateCard(database.db, RATE);
  expect(await redrive(database.db, "msg_1", { orgId: "org_b", create: true })).toMatchObject({
    kind: "review",
    id: "id:msg_1",
    redriven: true,
    state: "billed",
  });
  expect(await redrive(database.db, "id:msg_1", { orgId: "org_c" })).toMatchObject({ redriven: false, state: "billed", orgId: "org_b" });
  await settleOnce();

  expect(sink.total("org_b")).toBe("3");
  expect(await explainBilling(database.db, "msg_1")).toMatchObject({
    reviews: [{ resolution: "billed" }],
    events: [{ org_id: "org_b" }],
    batches: [{ state: "delivered" }],
  });
});

test("a row that nobody can bill is dismissed, and says so", async () => {
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "Infinity" }]);
  await sync();
  await expect(redrive(database.db, "msg_1", { orgId: "org_a", create: true })).rejects.toMatchObject({ code: "review_not_billable" });

  expect(await dismiss(database.db, "msg_1")).toMatchObject({ state: "dismissed" });
  expect((await dismiss(database.db, "msg_1")).message).toContain("settled already (dismissed)");
  expect((await explainBilling(database.db, "msg_1")).verdict).toMatch(/^Not billed: somebody looked at it/);
});

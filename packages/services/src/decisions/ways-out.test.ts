import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { createAutumnSink } from "../sinks/autumn/autumn.ts";
import { decideBatch } from "./decide-batch.ts";
import { reconcileDeliveries } from "../comparison/reconcile-deliveries.ts";
import { redrive } from "./redrive.ts";
import { settle } from "../settlement/settlement.ts";
import type { DeliveryOutcome, SettlementSink } from "../sinks/port/sink.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";

/** The table of states (`settlement/README.md`), and what leads out of each: by itself, by a comparison, or by a command. */
let database: TestDatabase;
let autumn: AutumnEmulator;
let sink: SettlementSink;
/** What the sink says instead of what Autumn answered; for the next attempt alone. */
let misheard: DeliveryOutcome | undefined;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches, settlement_circuits cascade`.execute(
    database.db,
  );
  autumn = await startAutumnEmulator();
  const real = createAutumnSink({
    secretKey: "am_sk_test_1",
    serverUrl: autumn.url,
    apiVersion: "2.3.0",
    featureId: "credits",
    client: "http",
  });
  misheard = undefined;
  sink = {
    ...real,
    deliver: async (delivery) => {
      const [answer, instead] = [await real.deliver(delivery), misheard];
      misheard = undefined;
      return instead ?? answer;
    },
  };
  autumn.grant("org_a", "1000");
  autumn.createCustomer("org_bare");
});
afterEach(() => autumn.stop());

async function spend(orgId = "org_a"): Promise<void> {
  await insertSpendRows(database.db, [{ orgId, spendUsd: "0.1" }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
}
const pass = () => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });
const batch = () => database.db.selectFrom("settlement_batches").selectAll().executeTakeFirstOrThrow();
const compare = async () => sink.ledger && reconcileDeliveries(database.db, sink.ledger, { dryRun: false, quietMs: 0 });
const decideTaken = async () =>
  decideBatch(database.db, (await batch()).batch_id, {
    wasTaken: true,
    operator: { name: "somebody", via: "test", reason: "looked at Autumn" },
  });
const redriveIt = async () => (await redrive(database.db, (await batch()).batch_id), pass());
/** Their next turn to be asked about is now. */
const letOrgsAsk = () => sql`update settlement_org_backoff set retry_at = billing_now()`.execute(database.db);
const outlast = async () => (
  await sql`update settlement_batches set first_sent_at = first_sent_at - interval '25 hours'`.execute(database.db),
  pass()
);
const loseAnswer = async () => (await spend(), autumn.failNext({ kind: "reset_after_apply" }), pass());
const refuse = async (status: number, code: string) => (await spend(), autumn.failNext({ kind: "status", status, code }), pass());
const mishear = async (outcome: DeliveryOutcome) => (await spend(), (misheard = outcome), pass());

type Step = () => Promise<unknown>;
const WAYS_OUT: readonly (readonly [title: string, state: string, comesBy: Step, leadsOut: Step])[] = [
  ["sealed: by itself", "sealed", async () => refuse(429, "rate_limit_exceeded"), pass],
  ["unknown: by its key, then confirmed by a comparison", "unknown", loseAnswer, async () => (await pass(), compare())],
  ["unknown, its key forgotten: by a comparison", "unknown", async () => (await loseAnswer(), outlast()), compare],
  [
    "unknown, its key forgotten and the records contradicting each other: by a decision",
    "unknown",
    async () => (await loseAnswer(), autumn.loseEvents("org_a", 1), await outlast(), compare()),
    decideTaken,
  ],
  ["parked: by itself", "parked", async () => refuse(404, "customer_not_found"), pass],
  ["dead: by a redrive", "dead", async () => refuse(400, "invalid_inputs"), redriveIt],
  [
    "dead after it may have been taken: by a decision",
    "dead",
    async () => (await loseAnswer(), (misheard = { kind: "dead", code: "invalid_inputs" }), pass()),
    decideTaken,
  ],
  [
    "unapplied, without a balance: by itself",
    "unapplied",
    async () => (await spend("org_bare"), pass()),
    async () => (autumn.grant("org_bare", "100"), await letOrgsAsk(), pass()),
  ],
  [
    "unapplied, without a balance: by a redrive",
    "unapplied",
    async () => (await spend("org_bare"), pass()),
    async () => (autumn.grant("org_bare", "100"), redriveIt()),
  ],
  [
    "unapplied, taken too much: by a comparison",
    "unapplied",
    async () => mishear({ kind: "unapplied", code: "over_deducted", deductedCredits: "75" }),
    compare,
  ],
  [
    "unapplied, taken too much: by a decision",
    "unapplied",
    async () => mishear({ kind: "unapplied", code: "over_deducted", deductedCredits: "75" }),
    decideTaken,
  ],
  ["delivered, never confirmed: by a comparison", "delivered", async () => (await loseAnswer(), pass()), compare],
  [
    "delivered, the records contradicting each other: by a decision",
    "delivered",
    async () => (await spend(), await pass(), autumn.loseEvents("org_a", 1), compare()),
    decideTaken,
  ],
  [
    "shortfall: is the end",
    "shortfall",
    async () => mishear({ kind: "shortfall", code: "spend_limit", deductedCredits: "12" }),
    async () => undefined,
  ],
];

it.each(WAYS_OUT)("autumn H3: nothing stays that nobody can close: %s", async (_, state, comesBy, leadsOut) => {
  await comesBy();
  expect((await batch()).state).toBe(state);

  await leadsOut();

  const { state: after, deducted_credits: deducted, credits } = await batch();
  expect(after === "delivered" ? [after, deducted] : [after]).toEqual(state === "shortfall" ? ["shortfall"] : ["delivered", credits]);
  expect(await database.db.selectFrom("delivery_findings").select("kind").where("resolved_at", "is", null).execute()).toEqual([]);
});

it.each<[string, DeliveryOutcome]>([
  ["fails for another reason", { kind: "unavailable", code: "rate_limit_exceeded", message: "scripted" }],
  ["is taken", { kind: "delivered", deductedCredits: "30" }],
])(
  "simulation seed 86: what waits for a balance is sent when there is one, also when another batch of the org %s meanwhile",
  async (_name, meanwhile) => {
    await spend("org_bare");
    await pass();
    expect(await database.db.selectFrom("settlement_batches").select(["state", "last_error_code"]).execute()).toEqual([
      { state: "unapplied", last_error_code: "no_balance" },
    ]);
    await spend("org_bare");
    await sql`update settlement_org_backoff set retry_at = billing_now() - interval '1 second'`.execute(database.db);
    // Not asked before, as in a pass that probes a sink that was away.
    await settle(database.db, { sink: { name: sink.name, deliver: async () => meanwhile }, retryDelayMs: () => 0, parkedDelayMs: () => 0 });

    autumn.grantPlan("org_bare", { planId: "late", granted: "1000" });
    await sql`update settlement_org_backoff set retry_at = billing_now() - interval '1 second'`.execute(database.db);
    await pass();
    await pass();

    expect((await database.db.selectFrom("settlement_batches").select("state").execute()).map(({ state }) => state)).toEqual([
      "delivered",
      "delivered",
    ]);
    expect(await database.db.selectFrom("settlement_org_backoff").selectAll().execute()).toEqual([]);
  },
);

const batches = () => database.db.selectFrom("settlement_batches").selectAll().orderBy("sequence").execute();

it("autumn H3: redriving one of several batches that rest without a balance leaves the others their way out", async () => {
  const asking = sink;
  const { hasBalance: _asked, ...unasked } = asking;
  sink = unasked;
  for (let round = 0; round < 2; round += 1) {
    await spend("org_bare");
    await letOrgsAsk();
    await pass();
  }
  sink = asking;
  expect((await batches()).map(({ state }) => state)).toEqual(["unapplied", "unapplied"]);
  autumn.grant("org_bare", "100");

  await redrive(database.db, (await batches())[0]?.batch_id ?? "");
  await pass();
  await letOrgsAsk();
  await pass();

  expect((await batches()).map(({ state }) => state)).toEqual(["delivered", "delivered"]);
});

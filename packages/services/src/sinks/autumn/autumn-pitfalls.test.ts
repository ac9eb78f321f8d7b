import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { addDecimals } from "@proliferate/shared/money";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAutumnSink } from "./autumn.ts";
import type { SettlementOptions } from "../../settlement/settlement-options.ts";
import { sealOpenEvents, settle } from "../../settlement/settlement.ts";
import { redriveBatch } from "../../settlement/settlement-db.ts";
import { syncSpend } from "../../billing/spend-sync.ts";
import type { SettlementSink } from "../port/sink.ts";
import { checkLedger, insertSpendRows, readLedgerSums, type SpendRow } from "../../../test/test-ledger.ts";

/** From spend rows to Autumn's balance: real PostgreSQL, real autumn-js, the emulator with its real weaknesses. */
const SECRET_KEY = "am_sk_test_never_to_be_stored";

let database: TestDatabase;
let autumn: AutumnEmulator;
let sink: SettlementSink;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches, settlement_circuits, billing_deployment cascade`.execute(
    database.db,
  );
  autumn = await startAutumnEmulator({ secretKey: SECRET_KEY });
  autumn.grant("org_a", "1000");
  autumn.grant("org_b", "1000");
  sink = createAutumnSink(sinkOptions());
});
afterEach(() => autumn.stop());

const sinkOptions = () => ({
  secretKey: SECRET_KEY,
  serverUrl: `${autumn.url}/v1`,
  apiVersion: "2.3.0",
  featureId: "credits",
  timeoutMs: 1_500,
});

async function spend(...rows: readonly SpendRow[]): Promise<void> {
  await insertSpendRows(database.db, rows);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
}

const pass = (options: Partial<SettlementOptions> = {}) =>
  settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0, ...options });
const readBatches = () => database.db.selectFrom("settlement_batches").selectAll().orderBy("org_id").orderBy("sequence").execute();
const readStates = async () => (await readBatches()).map((batch) => batch.state);

it("a spend row becomes exactly three times its price in credits, deducted once", async () => {
  await spend({ spendUsd: "0.1" }, { spendUsd: "0.00001234" }, { orgId: "org_b", spendUsd: "0.07" });

  await pass();
  await pass();

  expect(autumn.deducted("org_a")).toBe("30.003702");
  expect(autumn.deducted("org_b")).toBe("21");
  expect(autumn.calls).toHaveLength(2);
  expect((await readBatches()).map((batch) => [batch.state, batch.deducted_credits, batch.balance_after])).toEqual([
    ["delivered", "30.003702", "969.996298"],
    ["delivered", "21", "979"],
  ]);
});

it("pitfall 05 rounding drift: many tiny settlements do not drift against Autumn's ten decimals", async () => {
  for (let round = 0; round < 40; round += 1) {
    await spend({ spendUsd: "0.0000000000411523" }, { spendUsd: "0.000000123456789" });
    await pass();
  }

  const sums = await readLedgerSums(database.db);
  expect(autumn.deducted("org_a")).toBe(sums.delivered);
  expect(addDecimals(sums.delivered, sums.carry)).toBe(sums.events);
  expect(Number(sums.carry)).toBeLessThan(1e-10);
});

describe("pitfall 06 fail-open SDK", () => {
  it.each([
    ["500", { kind: "status", status: 500 }],
    ["503", { kind: "status", status: 503, code: "unavailable" }],
    ["a reset connection", { kind: "reset_before_apply" }],
    ["no answer", { kind: "hang", applied: false }],
  ] as const)("%s delivers nothing", async (_, fault) => {
    await spend({ spendUsd: "0.1" });
    autumn.failNext(fault);

    expect(await pass()).toMatchObject({ delivered: 0, undelivered: 1 });

    expect(await readStates()).toEqual(["unknown"]);
    expect(autumn.deducted("org_a")).toBe("0");
  });
});

it("pitfall 07 accepted, ack lost: deductions whose answers are lost are not repeated", async () => {
  for (let round = 0; round < 12; round += 1) {
    await spend({ spendUsd: "0.1" });
    if (round % 3 === 0) autumn.failNext({ kind: "reset_after_apply" });
    if (round % 3 === 1) autumn.failNext({ kind: "hang", applied: true });
    await pass();
  }
  await pass();

  expect(autumn.deducted("org_a")).toBe("360");
  expect((await readLedgerSums(database.db)).delivered).toBe("360");
  for (const batch of await readBatches()) expect(autumn.countKey(batch.idempotency_key).applied).toBe(1);
});

it("pitfall 10 202 or async: what Autumn queued is delivered only once Autumn confirms the key", async () => {
  await spend({ spendUsd: "0.1" });
  autumn.failNext({ kind: "accept" });
  await pass();
  expect(await readStates()).toEqual(["unknown"]);
  autumn.drainQueue();

  await pass();

  expect(await readStates()).toEqual(["delivered"]);
  expect(autumn.deducted("org_a")).toBe("30");
});

it("pitfall 11 cap shortfall: by default usage above the balance is deducted in full", async () => {
  await spend({ spendUsd: "5" });

  await pass();

  expect(autumn.deducted("org_a")).toBe("1500");
  expect(autumn.remaining("org_a")).toBe("0");
  expect(await readStates()).toEqual(["delivered"]);
});

it("pitfall 12 customer missing: an unknown customer is parked and charged once it exists, under the same key", async () => {
  await spend({ orgId: "org_new", spendUsd: "0.1" }, { orgId: "org_a", spendUsd: "0.1" });

  expect(await pass()).toMatchObject({ delivered: 1, undelivered: 1 });
  expect((await readBatches()).map((batch) => [batch.org_id, batch.state, batch.last_error_code])).toEqual([
    ["org_a", "delivered", null],
    ["org_new", "parked", "customer_not_found"],
  ]);
  autumn.grant("org_new", "100");
  await pass();

  expect(autumn.deducted("org_new")).toBe("30");
  expect(await readStates()).toEqual(["delivered", "delivered"]);
});

it("pitfall 12 feature missing, defect 05 denied is not deducted: 200 from a customer without a balance is not a delivery, and a redrive charges it once", async () => {
  autumn.createCustomer("org_bare");
  await spend({ orgId: "org_bare", spendUsd: "0.1" });
  await pass();
  const [batch] = await readBatches();
  expect(batch).toMatchObject({ state: "unapplied", last_error_code: "no_balance", deducted_credits: "0" });
  autumn.grant("org_bare", "100");

  await redriveBatch(database.db, batch?.batch_id ?? "");
  await pass();
  await pass();

  expect(autumn.deducted("org_bare")).toBe("30");
  expect(await readStates()).toEqual(["delivered"]);
});

it("pitfall 13 poison row: one batch that Autumn calls malformed dies with its reason, and the others are delivered", async () => {
  await spend(...Array.from({ length: 30 }, (_, index) => ({ orgId: `org_${index}`, spendUsd: "0.1" })));
  for (let index = 0; index < 30; index += 1) autumn.grant(`org_${index}`, "100");
  autumn.fail((call) => call.customerId === "org_13", { kind: "status", status: 400, code: "invalid_inputs" });

  expect(await pass()).toMatchObject({ delivered: 29, undelivered: 1 });

  const dead = (await readBatches()).filter((batch) => batch.state === "dead");
  expect(dead.map((batch) => [batch.org_id, batch.last_error_code])).toEqual([["org_13", "invalid_inputs"]]);
});

it("pitfall 14 head-of-line block: an org that always fails delays nobody", async () => {
  autumn.fail((call) => call.customerId === "org_a", { kind: "status", status: 500 });
  for (let round = 0; round < 3; round += 1) {
    await spend({ orgId: "org_a", spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });

    expect(await pass()).toMatchObject({ delivered: 1 });
  }

  expect(autumn.deducted("org_b")).toBe("90");
});

it("pitfall 14 rate limit: it is waited out for as long as Autumn says", async () => {
  await spend({ spendUsd: "0.1" });
  autumn.failNext({ kind: "status", status: 429, code: "rate_limit_exceeded", retryAfterSeconds: 300 });

  await settle(database.db, { sink });
  await settle(database.db, { sink });

  expect(autumn.calls).toHaveLength(1);
  expect(await readStates()).toEqual(["sealed"]);
});

it("a wrong key or API version parks every batch with the setting to correct, and loses none", async () => {
  await spend({ spendUsd: "0.1" });
  const wrongKey = createAutumnSink({ secretKey: "am_sk_test_wrong", serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits" });
  await pass({ sink: wrongKey });
  expect((await readBatches())[0]).toMatchObject({
    state: "parked",
    last_error_code: "invalid_secret_key",
    last_error: expect.stringContaining("AUTUMN_API_KEY"),
  });
  const wrongVersion = createAutumnSink({ secretKey: SECRET_KEY, serverUrl: autumn.url, apiVersion: "9.0", featureId: "credits" });
  await pass({ sink: wrongVersion });
  expect((await readBatches())[0]).toMatchObject({ state: "parked", last_error: expect.stringContaining("AUTUMN_API_VERSION") });
  const wrongFeature = createAutumnSink({ secretKey: SECRET_KEY, serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "tokens" });
  await pass({ sink: wrongFeature });
  expect((await readBatches())[0]).toMatchObject({ state: "parked", last_error: expect.stringContaining("AUTUMN_FEATURE_ID") });

  await pass();

  expect(autumn.deducted("org_a")).toBe("30");
});

it("two deployments on one Autumn organization do not take each other's keys", async () => {
  await spend({ spendUsd: "0.1" });
  await pass();
  await sql`truncate "LiteLLM_SpendLogs", billing_events, billing_accounts, settlement_batches, settlement_circuits, billing_deployment cascade`.execute(
    database.db,
  );
  await spend({ spendUsd: "0.2" });

  await pass();

  expect(autumn.deducted("org_a")).toBe("90");
  expect(await readStates()).toEqual(["delivered"]);
});

it("pitfall 27 secrets in stored answers: no table holds the secret key, whatever Autumn answers", async () => {
  await spend({ spendUsd: "0.1" });
  autumn.failNext({ kind: "status", status: 401, code: "invalid_secret_key" });
  await pass();
  await pass();

  const { rows } = await sql<{ dump: string }>`
    select concat((select json_agg(b) from settlement_batches b), (select json_agg(a) from settlement_attempts a)) as dump`.execute(
    database.db,
  );
  expect(rows[0]?.dump).toContain("delivered");
  expect(rows[0]?.dump).not.toContain("am_sk");
});

it("pitfall 11 cap shortfall: 50 on a balance of 30 takes 30 and leaves a shortfall of 20 on record, and never more", async () => {
  autumn.grant("org_small", "30");
  const capped = createAutumnSink({ ...sinkOptions(), overage: "cap" });
  await spend({ orgId: "org_small", spendUsd: "0.16666666666666666" });
  await pass({ sink: capped });
  await spend({ orgId: "org_small", spendUsd: "0.01" });
  await pass({ sink: capped });

  expect(autumn.deducted("org_small")).toBe("30");
  expect((await readBatches()).map((batch) => [batch.state, batch.credits, batch.deducted_credits])).toEqual([
    ["shortfall", "49.9999999999", "30"],
    ["shortfall", "3", "0"],
  ]);
  const { rows } = await sql<{ shortfall: string; delivered: string; difference: string }>`
    select trim_scale(shortfall) as shortfall, trim_scale(delivered) as delivered, difference from billing_invariant where org_id = 'org_small'`.execute(
    database.db,
  );
  expect(rows).toMatchObject([{ shortfall: "22.9999999999", delivered: "30" }]);
  expect(Number(rows[0]?.difference)).toBe(0);
});

it("pitfall 12 customer missing: with the setting on, the customer is created and what it owes waits for a plan", async () => {
  const creating = createAutumnSink({ ...sinkOptions(), autoCreateCustomers: true });
  await spend({ orgId: "org_new", spendUsd: "0.1" });
  await pass({ sink: creating });
  const [batch] = await readBatches();
  expect(batch).toMatchObject({ state: "unapplied", last_error_code: "no_balance", attempt_count: 1 });
  autumn.grant("org_new", "100");

  await redriveBatch(database.db, batch?.batch_id ?? "");
  await pass({ sink: creating });

  expect(autumn.deducted("org_new")).toBe("30");
});

it("pitfall 12 feature missing: an org without a balance loses one key, not one with every batch", async () => {
  autumn.createCustomer("org_bare");
  for (let round = 0; round < 3; round += 1) {
    await spend({ orgId: "org_bare", spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });
    await settle(database.db, { sink });
  }

  expect(autumn.calls.filter((call) => call.customerId === "org_bare")).toHaveLength(1);
  expect(autumn.deducted("org_b")).toBe("90");
});

it("pitfall 14 head-of-line block: an org that never answers delays nobody and costs one attempt, whatever its backlog", async () => {
  const others = Array.from({ length: 60 }, (_, index) => `other_${index}`);
  for (const org of others) autumn.grant(org, "100");
  for (let batch = 0; batch < 12; batch += 1) {
    await spend({ orgId: "org_a", spendUsd: "0.1" });
    await sealOpenEvents(database.db);
  }
  await spend(...others.map((orgId) => ({ orgId, spendUsd: "0.1" })));
  autumn.fail((call) => call.customerId === "org_a", { kind: "hang", applied: false });
  await sealOpenEvents(database.db);

  await pass({ concurrency: 2 });

  expect(others.filter((org) => autumn.deducted(org) === "30")).toHaveLength(60);
  expect(autumn.calls.filter((call) => call.customerId === "org_a")).toHaveLength(1);
});

it("pitfall 14 outage: an Autumn that fails for everybody is called five times, then asked by one probe at a time until it works", async () => {
  const orgs = Array.from({ length: 30 }, (_, index) => `org_${index}`);
  for (const org of orgs) autumn.grant(org, "100");
  await spend(...orgs.map((orgId) => ({ orgId, spendUsd: "0.1" })));
  const recover = autumn.fail(() => true, { kind: "status", status: 503, code: "unavailable" });
  const letCircuitTime = () => sql`update settlement_circuits set retry_at = clock_timestamp()`.execute(database.db);

  await pass({ concurrency: 1 });
  expect(autumn.calls).toHaveLength(5);
  await pass();
  expect(autumn.calls).toHaveLength(5);
  await letCircuitTime();
  await pass();
  expect(autumn.calls).toHaveLength(6);
  recover();
  await pass();
  expect(autumn.calls).toHaveLength(6);
  await letCircuitTime();

  await Promise.all([pass(), pass()]);
  await pass();

  expect(orgs.filter((org) => autumn.deducted(org) === "30")).toHaveLength(30);
  expect(await database.db.selectFrom("settlement_circuits").selectAll().execute()).toEqual([]);
});

it.each([-1, 1])(
  "pitfall 03 clock skew: an Autumn whose clock differs by %i h takes every credit once, and no call names a time",
  async (hours) => {
    await autumn.stop();
    autumn = await startAutumnEmulator({ secretKey: SECRET_KEY, now: () => Date.now() + hours * 3_600_000 });
    autumn.grant("org_a", "1000");
    sink = createAutumnSink(sinkOptions());
    await spend({ spendUsd: "0.1" });
    autumn.failNext({ kind: "reset_after_apply" });
    await pass();
    await pass();

    expect(autumn.deducted("org_a")).toBe("30");
    expect(await readStates()).toEqual(["delivered"]);
    expect(autumn.calls.every((call) => call.body["timestamp"] === undefined)).toBe(true);
  },
);

function crashWhenAnswered(step: string): void {
  if (step === "answered") throw new Error("crash");
}

it("defect 04 deduction without remote idempotency: a crash between the deduction and its record does not deduct again", async () => {
  await spend({ spendUsd: "0.1" });
  await expect(pass({ onStep: crashWhenAnswered })).rejects.toThrow("crash");
  await sql`update settlement_batches set lease_until = clock_timestamp()`.execute(database.db);

  await pass();

  expect(autumn.deducted("org_a")).toBe("30");
  expect(await readStates()).toEqual(["delivered"]);
});

it("defect 06 two outboxes: four passes at once deduct each batch once", async () => {
  await spend(...Array.from({ length: 40 }, (_, index) => ({ orgId: index % 2 === 0 ? "org_a" : "org_b", spendUsd: "0.1" })));

  await Promise.all(Array.from({ length: 4 }, () => pass()));

  expect([autumn.deducted("org_a"), autumn.deducted("org_b")]).toEqual(["600", "600"]);
  expect(autumn.calls).toHaveLength(2);
});

it("defect 18 the outbox gives up: a batch that failed twenty times over a day of outage is still sent, and a dead one can be redriven", async () => {
  await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });
  autumn.fail((call) => call.customerId === "org_b", { kind: "status", status: 400, code: "invalid_inputs" });
  const recover = autumn.fail((call) => call.customerId === "org_a", { kind: "status", status: 429, code: "rate_limit_exceeded" });
  for (let attempt = 0; attempt < 20; attempt += 1) await pass();
  await sql`update settlement_attempts set started_at = started_at - interval '26 hours'`.execute(database.db);
  recover();

  await pass();

  const [first, second] = await readBatches();
  expect([first?.state, first?.attempt_count, second?.state]).toEqual(["delivered", 21, "dead"]);
  expect(await redriveBatch(database.db, second?.batch_id ?? "")).toBe(true);
});

it("pitfall 28 bad characters in ids: an org whose id Autumn's alphabet does not allow is charged as the same customer each time", async () => {
  autumn.grant("enc:acme_2Eio", "100");
  await spend({ orgId: "acme.io", spendUsd: "0.1" });
  await pass();
  await spend({ orgId: "acme.io", spendUsd: "0.1" });
  await pass();

  expect(autumn.deducted("enc:acme_2Eio")).toBe("60");
});

it("pitfall 15 two workers, crash mid-batch: two workers that crash at random steps against an Autumn that fails in every way take each credit once", async () => {
  let seed = 20_261_121;
  const roll = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648;
  };
  const faults = [
    { kind: "reset_after_apply" },
    { kind: "status", status: 500 },
    { kind: "status", status: 429 },
    { kind: "hang", applied: true },
    { kind: "no_content" },
  ] as const;
  let crashes = 0;
  const onStep = (): void => {
    if (roll() > 0.12) return;
    crashes += 1;
    throw new Error("crash");
  };
  const worker = async (): Promise<void> => {
    await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" }, onStep }).catch(() => undefined);
    await pass({ onStep, concurrency: 2 }).catch(() => undefined);
  };
  for (let round = 0; round < 25; round += 1) {
    await insertSpendRows(database.db, [{ spendUsd: String(roll()) }, { orgId: "org_b", spendUsd: String(roll() / 1_000) }]);
    const fault = faults[Math.floor(roll() * faults.length * 2)];
    if (fault) autumn.failNext(fault);
    await Promise.all([worker(), worker()]);
    await checkLedger(database.db);
    await sql`update settlement_batches set lease_until = clock_timestamp() where state = 'sending'`.execute(database.db);
  }
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  while ((await pass()).undelivered > 0) await checkLedger(database.db);

  const sums = await readLedgerSums(database.db);
  expect(crashes).toBeGreaterThan(10);
  expect(new Set(await readStates())).toEqual(new Set(["delivered"]));
  expect(addDecimals(autumn.deducted("org_a"), autumn.deducted("org_b"))).toBe(sums.batches);
  expect(addDecimals(sums.batches, sums.carry)).toBe(sums.events);
  for (const batch of await readBatches()) expect(autumn.countKey(batch.idempotency_key).applied).toBe(1);
});

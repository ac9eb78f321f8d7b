import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { addDecimals } from "@proliferate/shared/money";
import { patience } from "@proliferate/testing/test-patience";
import { startStripeStandIn, type StripeStandIn } from "@proliferate/testing/stripe-stand-in/server";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { reconcileDeliveries } from "../comparison/reconcile-deliveries.ts";
import { settle } from "../settlement/settlement.ts";
import type { Delivery, SettlementSink } from "./port/sink.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows, readLedgerSums, type SpendRow } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { createSinkFromSettings } from "./create-sink.ts";
import { findSinkCustomer, listShadowDifferences, mapSinkCustomer, recordShadowResult } from "./db.ts";
import { createJsonLinesSink } from "./json-lines.ts";
import { createShadowedSink } from "./shadow.ts";
import { parseSinkSettings } from "./sink-settings.ts";
import { createStripeSink } from "./stripe.ts";
import { createTokenBucket } from "./port/token-bucket.ts";

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, billing_accounts, settlement_batches, settlement_circuits, sink_customers cascade`.execute(
    database.db,
  );
  folder = await mkdtemp(join(tmpdir(), "sinks-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function spend(...rows: readonly SpendRow[]): Promise<void> {
  await insertSpendRows(database.db, rows);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
}

const pass = (sink: SettlementSink) => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });
const readBatches = () => database.db.selectFrom("settlement_batches").selectAll().orderBy("org_id").orderBy("sequence").execute();
const delivery = (overrides: Partial<Delivery> = {}): Delivery => ({
  batchId: "0545ccd4-753d-8cbd-8f27-54891f82e6b6",
  orgId: "org_a",
  idempotencyKey: "pb:1",
  credits: "30.0000000001",
  eventCount: 2,
  ...overrides,
});

const file = () => join(folder, "settled.jsonl");

describe("the file of JSON lines", () => {
  it("holds one line for each batch, with the exact amount, readable by its owner alone", async () => {
    await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.00000012345" });

    expect(await pass(createJsonLinesSink(file()))).toMatchObject({ delivered: 2 });

    const lines = (await readFile(file(), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { credits: string; org_id: string });
    expect(lines.map((line) => [line.org_id, line.credits]).sort()).toEqual([
      ["org_a", "30"],
      ["org_b", "0.000037035"],
    ]);
    expect(addDecimals(...lines.map((line) => line.credits))).toBe((await readLedgerSums(database.db)).delivered);
    expect((await stat(file())).mode & 0o777).toBe(0o600);
  });

  it("is not written twice under one key, after a restart and in another process, too", async () => {
    const [first, second] = [createJsonLinesSink(file()), createJsonLinesSink(file())];

    const outcomes = [
      await first.deliver(delivery()),
      await second.deliver(delivery()),
      await createJsonLinesSink(file()).deliver(delivery()),
    ];

    expect(outcomes).toEqual(Array.from({ length: 3 }, () => ({ kind: "delivered", deductedCredits: "30.0000000001" })));
    expect((await readFile(file(), "utf8")).match(/\n/g)).toHaveLength(1);
  });

  it("loses a line that a crash left half written, and takes it again", async () => {
    await createJsonLinesSink(file()).deliver(delivery());
    await appendFile(file(), '{"key":"pb:2","batch_id":');

    await createJsonLinesSink(file()).deliver(delivery({ idempotencyKey: "pb:2" }));

    const lines = (await readFile(file(), "utf8")).trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { key: string }).key)).toEqual(["pb:1", "pb:2"]);
  });

  it("that cannot be opened parks the batch with the setting to correct", async () => {
    expect(await createJsonLinesSink(join(folder, "missing", "file")).deliver(delivery())).toMatchObject({
      kind: "parked",
      code: "enoent",
      message: expect.stringContaining("SETTLEMENT_FILE"),
    });
  });

  it("is a record that deliveries are compared with: a line added by hand is a double charge", async () => {
    await spend({ spendUsd: "0.1" });
    const sink = createJsonLinesSink(file());
    await pass(sink);
    const [batch] = await readBatches();
    await appendFile(file(), `${JSON.stringify({ key: "by-hand", batch_id: batch?.batch_id, org_id: "org_a", credits: "1.5" })}\n`);
    if (!sink.ledger) throw new Error("the file is a record");

    const { findings } = await reconcileDeliveries(database.db, sink.ledger, { dryRun: true, quietMs: 0 });

    expect(findings).toMatchObject([{ kind: "double_charge", foundCredits: "31.5", correctionCredits: "-1.5" }]);
  });
});

describe("Stripe meter events", () => {
  let stripe: StripeStandIn;
  let sink: SettlementSink;
  beforeEach(async () => {
    stripe = await startStripeStandIn({ secretKey: "sk_test_1" });
    sink = createStripeSink({
      secretKey: "sk_test_1",
      serverUrl: stripe.url,
      eventName: "credits",
      findCustomerId: async (orgId) => findSinkCustomer(database.db, "stripe", orgId),
      timeoutMs: patience(2_000),
    });
    await mapSinkCustomer(database.db, { sink: "stripe", orgId: "org_a", customerId: "cus_a" });
  });
  afterEach(() => stripe.stop());

  it("report each batch once, exactly, as a whole number of ten-billionths of a credit", async () => {
    await spend({ spendUsd: "0.1" }, { spendUsd: "0.0000000000003334" });
    await pass(sink);
    await pass(sink);

    expect(stripe.events).toHaveLength(1);
    expect(stripe.total("cus_a")).toBe(300_000_000_001n);
    expect(await readBatches()).toMatchObject([{ state: "delivered", deducted_credits: "30.0000000001" }]);
    expect(stripe.events[0]?.identifier).toBe((await readBatches())[0]?.idempotency_key);
  });

  it("whose answer was lost are proven by the refused identifier", async () => {
    await spend({ spendUsd: "0.1" });
    stripe.failNext({ kind: "reset_after_apply" });

    await pass(sink);
    await pass(sink);

    expect(stripe.total("cus_a")).toBe(300_000_000_000n);
    expect(await readBatches()).toMatchObject([{ state: "delivered", attempt_count: 2 }]);
  });

  it("of an org that nobody mapped wait, and the others flow", async () => {
    await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" });
    expect(await pass(sink)).toMatchObject({ delivered: 1, undelivered: 1 });
    expect((await readBatches())[1]).toMatchObject({ state: "parked", last_error_code: "customer_not_mapped" });

    await mapSinkCustomer(database.db, { sink: "stripe", orgId: "org_b", customerId: "cus_b" });
    await pass(sink);

    expect(stripe.total("cus_b")).toBe(300_000_000_000n);
  });

  it.each([
    [{ kind: "status", status: 500 }, { kind: "unknown" }],
    [
      { kind: "status", status: 429, retryAfterSeconds: 9 },
      { kind: "unavailable", retryAfterMs: 9_000 },
    ],
    [
      { kind: "status", status: 401 },
      { kind: "parked", message: expect.stringContaining("STRIPE_API_KEY") },
    ],
  ] as const)("after %j are judged for what they are", async (fault, expected) => {
    stripe.failNext(fault);

    expect(await sink.deliver(delivery())).toMatchObject(expected);
    expect(stripe.events).toHaveLength(0);
  });

  it("are never rounded: an amount that is not whole in the meter's unit is refused before it is sent", async () => {
    const coarse = createStripeSink({
      secretKey: "sk_test_1",
      serverUrl: stripe.url,
      eventName: "credits",
      decimals: 2,
      findCustomerId: async () => "cus_a",
    });

    expect(await coarse.deliver(delivery())).toMatchObject({ kind: "dead", code: "not_representable" });
    expect(await coarse.deliver(delivery({ credits: "30.01" }))).toMatchObject({ kind: "delivered" });
    expect(await sink.deliver(delivery({ credits: "99999.9999999999", idempotencyKey: "pb:9" }))).toMatchObject({ kind: "delivered" });
  });
});

const shadowed = (primary: SettlementSink, shadow: SettlementSink) =>
  createShadowedSink({ primary, shadow, record: async (result) => recordShadowResult(database.db, result) });

describe("a shadow sink", () => {
  it("gets every delivery, and agreement is no difference", async () => {
    await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.2" });
    const [primary, shadow] = [new ScriptedSink(), new ScriptedSink()];
    const sink = shadowed(adapt(primary, "first"), adapt(shadow, "second"));

    await pass(sink);
    await sink.settled();

    expect([primary.total(), shadow.total()]).toEqual(["90", "90"]);
    expect(await listShadowDifferences(database.db, { limit: 10 })).toEqual([]);
  });

  it("that fails, throws or hangs moves no state and delays nobody; the difference is reported", async () => {
    await spend({ spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.1" }, { orgId: "org_c", spendUsd: "0.1" });
    const released = Promise.withResolvers<void>();
    const shadow: SettlementSink = {
      name: "second",
      deliver: async ({ orgId }) => {
        if (orgId === "org_a") throw new Error("sk_live_secret");
        if (orgId === "org_b") return { kind: "delivered", deductedCredits: "29" };
        await released.promise;
        return { kind: "parked", code: "customer_not_mapped" };
      },
    };
    const sink = shadowed(adapt(new ScriptedSink(), "first"), shadow);

    expect(await pass(sink)).toMatchObject({ delivered: 3, undelivered: 0 });
    released.resolve();
    await sink.settled();

    const differences = await listShadowDifferences(database.db, { limit: 10 });
    expect(
      differences.map(({ orgId, shadowOutcome, shadowCredits, shadowCode }) => [orgId, shadowOutcome, shadowCredits, shadowCode]).sort(),
    ).toEqual([
      ["org_a", "unknown", null, "sink_failed"],
      ["org_b", "delivered", "29", null],
      ["org_c", "parked", null, "customer_not_mapped"],
    ]);
    expect(JSON.stringify(differences)).not.toContain("sk_live");
  });
});

const adapt = (sink: ScriptedSink, name: string): SettlementSink => ({ name, deliver: async (one) => sink.deliver(one) });

describe("the settings", () => {
  it("choose the sink, and name what it lacks", () => {
    expect(createSinkFromSettings(database.db, parseSinkSettings({ AUTUMN_API_KEY: "am_sk_test_1" })).name).toBe("autumn");
    expect(
      createSinkFromSettings(
        database.db,
        parseSinkSettings({ SETTLEMENT_SINK: "jsonl", SETTLEMENT_FILE: "f", SETTLEMENT_SHADOW_SINK: "stripe", STRIPE_API_KEY: "sk_1" }),
      ).name,
    ).toBe("jsonl");
    expect(() => parseSinkSettings({})).toThrow(/AUTUMN_API_KEY/);
    expect(() => parseSinkSettings({ SETTLEMENT_SINK: "stripe" })).toThrow(/STRIPE_API_KEY/);
    expect(() => parseSinkSettings({ SETTLEMENT_SINK: "jsonl" })).toThrow(/SETTLEMENT_FILE/);
    expect(() => parseSinkSettings({ SETTLEMENT_SINK: "paper" })).toThrow(/SETTLEMENT_SINK/);
    expect(() => parseSinkSettings({ AUTUMN_API_KEY: "k", SETTLEMENT_SHADOW_SINK: "autumn" })).toThrow(/SETTLEMENT_SHADOW_SINK/);
  });
});

it("a token bucket lets no more calls through than its rate after the first burst", async () => {
  const bucket = createTokenBucket(50);
  const startedAt = performance.now();

  for (let call = 0; call < 70; call += 1) await bucket.take();

  expect(performance.now() - startedAt).toBeGreaterThan(300);
});

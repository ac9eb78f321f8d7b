import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { auditCompleteness } from "../billing/audit.ts";
import { parkedDelayMs, retryDelayMs } from "./backoff.ts";
import type { SettlementOptions, SettlementProblem } from "./settlement-options.ts";
import { sealOpenEvents, settle } from "./settlement.ts";
import { redriveBatch } from "./settlement-db.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { checkLedger, insertSpendRows, readLedgerSums, type SpendRow } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { tamper } from "../../test/test-tampering.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };

let database: TestDatabase;
let sink: ScriptedSink;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches, settlement_circuits cascade`.execute(
    database.db,
  );
  sink = new ScriptedSink();
});

/** Spend rows that have their events. */
async function spend(...rows: readonly SpendRow[]): Promise<void> {
  await insertSpendRows(database.db, rows);
  await syncSpend(database.db, { rate: RATE });
}

/** A pass whose retries are due at once. */
const pass = (options: Partial<SettlementOptions> = {}) =>
  settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0, ...options });

const readBatches = () => database.db.selectFrom("settlement_batches").selectAll().orderBy("org_id").orderBy("sequence").execute();
const readBatch = async () => {
  const [batch] = await readBatches();
  if (!batch) throw new Error("there is no batch");
  return batch;
};
const readAttempts = () => database.db.selectFrom("settlement_attempts").selectAll().orderBy("attempt").execute();
const ageFirstAttempt = (hours: number) =>
  sql`update settlement_batches set first_sent_at = first_sent_at - ${hours} * interval '1 hour'`.execute(database.db);

describe("sealing", () => {
  it("makes one batch of an org's open events, with the exact sum and a key of its own", async () => {
    await spend({ spendUsd: "0.1" }, { spendUsd: "0.2" }, { orgId: "org_b", spendUsd: "0.000001" });

    await sealOpenEvents(database.db);

    const batches = await readBatches();
    expect(batches.map((batch) => [batch.org_id, batch.event_count, batch.credits, batch.state])).toEqual([
      ["org_a", 2, "90", "sealed"],
      ["org_b", 1, "0.0003", "sealed"],
    ]);
    expect(new Set(batches.map((batch) => batch.idempotency_key)).size).toBe(2);
    expect(batches[0]?.idempotency_key).toBe(`pb:${batches[0]?.batch_id}`);
    expect(batches[0]?.batch_id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  it("pitfall 05 rounding drift: rounds toward zero to ten decimals and carries the rest into the next batch", async () => {
    await spend({ spendUsd: "0.00000000000051" });
    await sealOpenEvents(database.db);
    await spend({ spendUsd: "0.00000000000051" });
    await sealOpenEvents(database.db);

    expect((await readBatches()).map((batch) => [Number(batch.carry_in), batch.credits, Number(batch.carry_out)])).toEqual([
      [0, "0.0000000001", 5.3e-11],
      [5.3e-11, "0.0000000002", 6e-12],
    ]);
    await checkLedger(database.db);
  });

  it("autumn H3: keeps no more than the fourteen digits that Autumn states, and carries the rest", async () => {
    await spend({ spendUsd: "12345.678901234567" });
    await sealOpenEvents(database.db);

    const { credits } = await readBatch();

    expect(credits).toBe("3703703.6703703");
    expect(String(Number(credits))).toBe(credits);
    await checkLedger(database.db);
  });

  it("settles what rounds to nothing without a call, and carries it", async () => {
    await spend({ spendUsd: "0" }, { spendUsd: "0.0000000000001" });

    expect(await pass()).toMatchObject({ sealed: 1, delivered: 0 });

    expect(await readBatch()).toMatchObject({ state: "delivered", credits: "0", deducted_credits: "0", event_count: 2 });
    expect(sink.calls).toEqual([]);
    expect(await readLedgerSums(database.db)).toMatchObject({ carry: "0.00000000003", open: "0" });
  });

  it("waits while corrections outweigh usage, then settles the difference", async () => {
    await spend({ requestId: "corrected", spendUsd: "0.2" });
    await pass();
    await sql`update "LiteLLM_SpendLogs" set spend = 0.1 where request_id = 'corrected'`.execute(database.db);
    await syncSpend(database.db, { rate: RATE });
    expect(await pass()).toMatchObject({ sealed: 0 });
    await spend({ spendUsd: "0.4" });

    await pass();

    expect(sink.total()).toBe("150");
    await checkLedger(database.db);
  });

  it("from six workers at once seals each event once", async () => {
    await spend(...Array.from({ length: 600 }, (_, index) => ({ orgId: `org_${index % 40}` })));

    await Promise.all(Array.from({ length: 6 }, () => sealOpenEvents(database.db)));

    await sealOpenEvents(database.db);
    expect(await readBatches()).toHaveLength(40);
    expect(await readLedgerSums(database.db)).toMatchObject({ events: "180", batches: "180", open: "0" });
  });

  it("while events are written seals each event once, in ranges that adjoin, and nobody waits for ever", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 1_200 }, (_, index) => ({ orgId: `org_${(index * 7) % 40}`, ageMs: 60_000 - index })),
    );
    const written = new AbortController();
    const seal = async (): Promise<void> => {
      while (!written.signal.aborted) await sealOpenEvents(database.db);
    };

    await Promise.all([syncSpend(database.db, { rate: RATE, chunkRows: 50 }).finally(() => written.abort()), seal(), seal()]);

    await sealOpenEvents(database.db);
    expect(await readLedgerSums(database.db)).toMatchObject({ events: "360", batches: "360", open: "0" });
    const { rows } = await sql<{ events: number; broken: number }>`
      select sum(event_count)::int as events, count(*) filter (where after_event_id <> former)::int as broken
      from (select *, lag(through_event_id, 1, 0::bigint) over (partition by org_id order by sequence) as former from settlement_batches) b`.execute(
      database.db,
    );
    expect(rows).toEqual([{ events: 1_200, broken: 0 }]);
    await checkLedger(database.db);
  });

  it("refuses an org whose open events are not what its account says, tells so, and leaves the others alone", async () => {
    await spend({ requestId: "kept" }, { requestId: "vanishes" }, { orgId: "org_b" });
    const problems: SettlementProblem[] = [];
    await tamper(database.db, sql`delete from billing_events where request_id = 'vanishes'`);

    expect(await pass({ onProblem: (problem) => problems.push(problem) })).toMatchObject({ sealed: 1, refused: 1 });

    expect(problems).toMatchObject([{ batchId: null, orgId: "org_a", outcome: "unsealed", code: "ledger_gap" }]);
    expect((await readBatches()).map((batch) => batch.org_id)).toEqual(["org_b"]);
    const { rows } = await sql`select org_id, trim_scale(difference) as difference from billing_invariant where difference <> 0`.execute(
      database.db,
    );
    expect(rows).toEqual([{ org_id: "org_a", difference: "-0.3" }]);
    await auditCompleteness(database.db, { from: new Date(0), to: new Date(Date.now() + 60_000), heal: true, rate: RATE });
    expect(await pass()).toMatchObject({ sealed: 1, refused: 0 });
    await checkLedger(database.db);
  });
});

describe("delivering", () => {
  it("takes the credits of each batch once and says what is left", async () => {
    await spend({ spendUsd: "0.1" });

    expect(await pass()).toEqual({ sealed: 1, refused: 0, delivered: 1, undelivered: 0, flagged: 0, revived: 0 });
    expect(await pass()).toEqual({ sealed: 0, refused: 0, delivered: 0, undelivered: 0, flagged: 0, revived: 0 });

    expect(await readBatch()).toMatchObject({ state: "delivered", deducted_credits: "30", balance_after: "0", attempt_count: 1 });
    expect(sink.calls).toHaveLength(1);
  });

  it("pitfall 07 accepted, ack lost: proves a delivery by the refused duplicate", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => "lose_answer";
    await pass();
    expect(await readBatch()).toMatchObject({ state: "unknown", needs_reconcile: false });
    sink.script = () => undefined;

    expect(await pass()).toMatchObject({ delivered: 1 });

    expect(await readBatch()).toMatchObject({ state: "delivered", deducted_credits: null, attempt_count: 2 });
    expect((await readAttempts()).map((attempt) => attempt.outcome)).toEqual(["unknown", "duplicate"]);
    expect(sink.total()).toBe("30");
  });

  it("alarms at a refused duplicate of a key that no attempt of ours can have used", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "unavailable", code: "econnrefused" });
    await pass();
    sink.script = () => ({ kind: "duplicate", status: 409, code: "duplicate_idempotency_key" });

    expect(await pass()).toMatchObject({ delivered: 0 });

    expect(await readBatch()).toMatchObject({ state: "dead", last_error_code: "key_collision" });
  });

  it("pitfall 08 key forgotten: holds what may have been applied longer ago than the sink remembers", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => "lose_answer";
    await pass();
    await ageFirstAttempt(25);

    expect(await pass()).toMatchObject({ flagged: 1 });
    expect(await pass()).toMatchObject({ flagged: 0 });

    expect(await readBatch()).toMatchObject({ state: "unknown", needs_reconcile: true, last_error_code: "key_forgotten" });
    expect(sink.calls).toHaveLength(1);
  });

  it("goes on sending after a day of outage in which nothing can have been applied", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "unavailable", code: "econnrefused" });
    await pass();
    await sql`update settlement_attempts set started_at = started_at - interval '25 hours'`.execute(database.db);
    sink.script = () => undefined;

    expect(await pass()).toMatchObject({ delivered: 1, flagged: 0 });
  });

  it("pitfall 10 202 or async: treats queued as not applied", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "accepted", status: 202, code: "accepted_not_applied" });

    await pass();

    expect(await readBatch()).toMatchObject({ state: "unknown", last_error_code: "accepted_not_applied", delivered_at: null });
  });

  it("pitfall 12 feature missing: never sends an unapplied batch again by itself, and under a new key when redriven", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "unapplied", status: 200, code: "no_balance", deductedCredits: "0" });
    await pass();
    await pass();
    expect(sink.calls).toHaveLength(1);
    sink.script = () => undefined;
    const { batch_id, idempotency_key } = await readBatch();

    expect(await redriveBatch(database.db, batch_id)).toBe(true);
    expect(await pass()).toMatchObject({ delivered: 1 });

    expect(sink.calls[1]?.idempotencyKey).toBe(`${idempotency_key}.1`);
    expect(await redriveBatch(database.db, batch_id)).toBe(false);
  });

  it('does not take "nothing was deducted" for the answer to an earlier attempt that may have been applied: only the sink\'s record decides', async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "unknown", code: "timeout" });
    await pass();
    sink.script = () => ({ kind: "unapplied", status: 200, code: "no_balance", deductedCredits: "0" });
    await pass();

    const batch = await readBatch();

    expect(batch).toMatchObject({ state: "unknown", needs_reconcile: true, last_error_code: "no_balance", deducted_credits: null });
    expect(await redriveBatch(database.db, batch.batch_id)).toBe(false);
    await pass();
    expect(sink.calls).toHaveLength(2);
  });

  it("pitfall 11, cap shortfall: records what was taken and does not let it be redriven in full", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "shortfall", status: 200, code: "shortfall", deductedCredits: "12" });
    await pass();

    const batch = await readBatch();

    expect(batch).toMatchObject({ state: "shortfall", last_error_code: "shortfall", deducted_credits: "12" });
    expect(await redriveBatch(database.db, batch.batch_id)).toBe(false);
  });

  it("pitfall 12 customer missing: parks an org that the sink does not know while the others flow, and delivers once it does", async () => {
    await spend(...Array.from({ length: 20 }, (_, index) => ({ orgId: `org_${index}`, spendUsd: "0.1" })));
    sink.script = ({ orgId }) => (orgId === "org_7" ? { kind: "parked", status: 404, code: "customer_not_found" } : undefined);

    expect(await pass()).toMatchObject({ delivered: 19, undelivered: 1 });
    const parked = (await readBatches()).filter((batch) => batch.state === "parked");
    sink.script = () => undefined;

    expect(parked.map((batch) => batch.org_id)).toEqual(["org_7"]);
    expect(await pass()).toMatchObject({ delivered: 1 });
  });

  it("pitfall 14 head-of-line block: tries one batch of each org before the second of any", async () => {
    for (let batch = 0; batch < 5; batch += 1) {
      await spend({ orgId: "org_backlog", spendUsd: "0.1" });
      await sealOpenEvents(database.db);
    }
    await spend({ orgId: "org_fresh", spendUsd: "0.1" });

    await pass({ concurrency: 1 });

    expect(
      sink.calls
        .slice(0, 2)
        .map((call) => call.orgId)
        .sort(),
    ).toEqual(["org_backlog", "org_fresh"]);
  });

  it("waits as long as the sink asks, and longer with each attempt", async () => {
    await spend({ spendUsd: "0.1" });
    sink.script = () => ({ kind: "unavailable", status: 429, code: "rate_limit_exceeded", retryAfterMs: 120_000 });

    await settle(database.db, { sink });
    await settle(database.db, { sink });

    expect(sink.calls).toHaveLength(1);
    const { rows } = await sql<{
      seconds: string;
    }>`select round(extract(epoch from next_attempt_at - clock_timestamp())) as seconds from settlement_batches`.execute(database.db);
    expect(Number(rows[0]?.seconds)).toBeGreaterThanOrEqual(118);
    expect([1, 2, 3, 9, 50].map((attempt) => retryDelayMs({ attempt, random: 0 }))).toEqual([20_000, 40_000, 80_000, 900_000, 900_000]);
    expect(retryDelayMs({ attempt: 1, retryAfterMs: 60_000, random: 1 })).toBe(60_000);
    expect(parkedDelayMs({ random: 1 })).toBe(1_080_000);
  });

  it("begins no attempt after the process was told to stop, and gives its claims back", async () => {
    await spend(...Array.from({ length: 6 }, (_, index) => ({ orgId: `org_${index}` })));
    const stopping = new AbortController();
    sink.script = () => void stopping.abort();

    await pass({ concurrency: 1, signal: stopping.signal });

    expect((await readBatches()).map((batch) => batch.state).sort()).toEqual(["delivered", ...Array<string>(5).fill("sealed")]);
    expect(await pass()).toMatchObject({ delivered: 5 });
  });
});

describe("a claim", () => {
  it("pitfall 15 fencing, defect 07 lock is no fence: one that ended lets nobody record with its token", async () => {
    await spend({ spendUsd: "0.1" });
    const problems: SettlementProblem[] = [];
    sink.script = () => ({ kind: "dead", code: "invalid_inputs" });
    // While the first worker is between its answer and its record, its lease ends and a second one delivers.
    let interrupted = false;
    const rival = new ScriptedSink();
    const slow = pass({
      onProblem: (problem) => problems.push(problem),
      sink: {
        name: "slow",
        deliver: async (delivery) => {
          if (interrupted) throw new Error("only once");
          interrupted = true;
          await sql`update settlement_batches set lease_until = clock_timestamp()`.execute(database.db);
          await settle(database.db, { sink: rival });
          return sink.deliver(delivery);
        },
      },
    });
    await slow;

    expect(await readBatch()).toMatchObject({ state: "delivered", last_error_code: null });
    expect(problems.map((problem) => problem.code)).toEqual(["claim_lost"]);
    expect((await readAttempts()).map((attempt) => attempt.outcome).sort()).toEqual(["dead", "delivered"]);
  });

  it("defect 06 two outboxes: is never held by two workers, four at once send each batch once", async () => {
    await spend(...Array.from({ length: 100 }, (_, index) => ({ orgId: `org_${index}`, spendUsd: "0.1" })));
    await sealOpenEvents(database.db);

    await Promise.all(Array.from({ length: 4 }, () => pass()));

    expect(sink.calls).toHaveLength(100);
    expect(sink.total()).toBe("3000");
  });
});

describe("what was metered and sealed", () => {
  it.each([
    ["an event's amount", sql`update billing_events set spend_usd = 0, credits = 0`],
    ["an event's organization", sql`update billing_events set org_id = 'org_b'`],
    ["a batch's events", sql`update settlement_batches set through_event_id = through_event_id + 1`],
    ["an event", sql`delete from billing_events`],
    ["a batch's amount", sql`update settlement_batches set credits = 1, carry_out = carry_out + credits - 1`],
    ["a batch's key", sql`update settlement_batches set idempotency_key = 'pb:other'`],
    ["a delivery", sql`update settlement_batches set state = 'sealed'`],
    ["a batch", sql`delete from settlement_batches`],
  ])("is refused by the database: a change of %s", async (_, statement) => {
    await spend({ spendUsd: "0.1" });
    await pass();

    await expect(statement.execute(database.db)).rejects.toThrow("the ledger is immutable");
  });
});

it("pitfall 27 secrets in stored answers: never stores a credential that an error carried", async () => {
  await spend({ spendUsd: "0.1" });
  await settle(database.db, {
    sink: {
      name: "leaky",
      deliver: async () => {
        throw new Error("Authorization: Bearer am_sk_live_abcdefghijkl was refused");
      },
    },
  });

  const batch = await readBatch();

  expect(JSON.stringify(batch)).not.toContain("am_sk_live");
  expect(batch).toMatchObject({ state: "unknown", last_error_code: "sink_failed" });
});

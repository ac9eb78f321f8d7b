import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { addDecimals, multiplyDecimals, subtractDecimals } from "@proliferate/shared/money";
import fc from "fast-check";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { RateCard } from "../rates/credits.ts";
import { sealOpenEvents, settle } from "../settlement/settlement.ts";
import { syncSpend } from "./spend-sync.ts";
import { checkInvariant, checkLedger, insertSpendRows, readLedgerSums } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";

/** Exact: spend x markup x credits per USD, nothing rounded. The same product that the ingest statement computes. */
function creditsForSpend(spendUsd: string, rate: RateCard): string {
  return multiplyDecimals(multiplyDecimals(spendUsd, rate.markup), rate.creditsPerUsd);
}

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const emptyTables = () =>
  sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches, settlement_circuits cascade`.execute(
    database.db,
  );
beforeEach(emptyTables);

/** The source corrects itself. */
const changeNewest = (amount: string) =>
  sql`update "LiteLLM_SpendLogs" set spend = ${amount}::float8 where request_id = (select max(request_id) from "LiteLLM_SpendLogs")`.execute(
    database.db,
  );
const endLeases = () =>
  sql`update settlement_batches set lease_until = clock_timestamp(), next_attempt_at = clock_timestamp() where state = 'sending'`.execute(
    database.db,
  );

/** Amounts of every kind: tiny, ordinary, large, zero, negative, and with all the digits that a DOUBLE has. */
const spendUsd = fc.oneof(
  fc.double({ min: 0, max: 2, noNaN: true }).map(String),
  fc.double({ min: 1e-12, max: 1e-6, noNaN: true }).map(String),
  fc.double({ min: 1_000, max: 99_999, noNaN: true }).map(String),
  fc.integer({ min: 0, max: 5_000 }).map((thousandths) => `${thousandths / 1_000}`),
  fc.double({ min: -0.01, max: 0, noNaN: true }).map(String),
);
/** A refund that names no request stands in review instead. */
const isCharge = (amount: string): boolean => !amount.startsWith("-") || Number(amount) === 0;
const markup = fc.integer({ min: 0, max: 9_999 }).map((thousandths) => `${thousandths / 1_000}`);
const rows = fc.array(fc.record({ orgId: fc.constantFrom("org_a", "org_b", "acme.io"), spendUsd }), { minLength: 1, maxLength: 12 });

const step = fc.oneof(
  fc.record({ kind: fc.constant("spend" as const), rows }),
  fc.record({ kind: fc.constant("sync" as const), markup }),
  fc.record({ kind: fc.constant("change" as const), spendUsd }),
  fc.record({ kind: fc.constant("seal" as const) }),
  fc.record({ kind: fc.constant("settle" as const), answer: fc.constantFrom("take", "lose_answer", "unavailable", "parked") }),
);

it("for any spends, markups and outcomes, events = batches + carry + open at every step, and what was taken = what was delivered", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      await emptyTables();
      const sink = new ScriptedSink();
      const settleNow = () => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });
      for (const one of steps) {
        if (one.kind === "spend") await insertSpendRows(database.db, one.rows);
        if (one.kind === "sync") await syncSpend(database.db, { rate: { markup: one.markup, creditsPerUsd: "100" }, chunkRows: 7 });
        if (one.kind === "change") await changeNewest(one.spendUsd);
        if (one.kind === "seal") await sealOpenEvents(database.db);
        if (one.kind === "settle") {
          const { answer } = one;
          sink.script = () =>
            answer === "take" ? undefined : answer === "lose_answer" ? answer : { kind: answer as "unavailable" | "parked" };
          await settleNow();
        }
        await checkLedger(database.db);
        await checkInvariant(database.db);
      }
      sink.script = () => undefined;
      await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
      await settleNow();

      await checkLedger(database.db);
      const sums = await readLedgerSums(database.db);
      expect(sums.delivered).toBe(sums.batches);
      expect(sink.total()).toBe(sums.delivered);
      expect(addDecimals(sums.delivered, sums.carry, sums.open)).toBe(sums.events);
    }),
    { numRuns: 40 },
  );
});

it("computes credits in the database exactly as the pure function does", async () => {
  await fc.assert(
    fc.asyncProperty(rows, markup, async (spends, factor) => {
      await emptyTables();
      await insertSpendRows(database.db, spends);
      await syncSpend(database.db, { rate: { markup: factor, creditsPerUsd: "100" } });

      const events = await database.db.selectFrom("billing_events").select(["spend_usd", "credits"]).execute();

      expect(events).toHaveLength(spends.filter((row) => isCharge(row.spendUsd)).length);
      for (const event of events)
        expect(subtractDecimals(event.credits, creditsForSpend(event.spend_usd, { markup: factor, creditsPerUsd: "100" }))).toBe("0");
    }),
    { numRuns: 20 },
  );
});

it("a crash at any step of either of two workers loses nothing and takes nothing twice", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
      fc.array(rows, { minLength: 3, maxLength: 5 }),
      async (dice, rounds) => {
        await emptyTables();
        const roll = (): number => dice.next().value as number;
        const sink = new ScriptedSink();
        sink.script = () => (roll() < 0.2 ? "lose_answer" : roll() < 0.2 ? { kind: "unavailable" } : undefined);
        const onStep = (): void => {
          if (roll() < 0.15) throw new Error("crash");
        };
        const crashes: string[] = [];
        const worker = async (): Promise<void> => {
          await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" }, chunkRows: 4, onStep }).catch((error: Error) =>
            crashes.push(error.message),
          );
          await settle(database.db, { sink, onStep, concurrency: 2, retryDelayMs: () => 0 }).catch((error: Error) =>
            crashes.push(error.message),
          );
        };
        for (const spends of rounds) {
          await insertSpendRows(database.db, spends);
          await Promise.all([worker(), worker()]);
          await checkLedger(database.db);
          await endLeases();
        }
        expect(crashes.every((message) => message === "crash")).toBe(true);

        sink.script = () => undefined;
        await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
        await settle(database.db, { sink, retryDelayMs: () => 0 });

        await checkLedger(database.db);
        const sums = await readLedgerSums(database.db);
        expect(sums.delivered).toBe(sums.batches);
        expect(sink.total()).toBe(sums.delivered);
        const { count } = await database.db
          .selectFrom("billing_events")
          .select((eb) => eb.fn.countAll().as("count"))
          .executeTakeFirstOrThrow();
        expect(Number(count)).toBe(rounds.flat().filter((row) => isCharge(row.spendUsd)).length);
      },
    ),
    { numRuns: 40 },
  );
});

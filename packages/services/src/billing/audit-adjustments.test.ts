import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, it } from "vitest";
import { auditCompleteness } from "./audit.ts";
import { addRateCard } from "../rates/rate-cards.ts";
import { readOpenAlerts } from "../ledger/retention-db.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "./spend-sync.ts";
import { checkInvariant, checkLedger, dumpEvents, insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { tamper } from "../../test/test-tampering.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const DAY_MS = 86_400_000;

let database: TestDatabase;
/** A request that was changed twice and refunded in part, all of it delivered but the last change. */
beforeEach(async () => {
  database = await createTestDatabase();
  await insertSpendRows(database.db, [
    { requestId: "r", spendUsd: "0.5" },
    { requestId: "other", spendUsd: "0.3" },
  ]);
  await sync();
  await setSpend("0.7000001");
  await sync();
  await insertSpendRows(database.db, [{ requestId: "r:correction", spendUsd: "-0.1" }]);
  await sync();
  await settle(database.db, { sink: new ScriptedSink() });
  await setSpend("0.6");
  await sync();
});
afterEach(() => database.drop());

const sync = () => syncSpend(database.db, { rate: RATE });
const setSpend = (usd: string) => sql`update "LiteLLM_SpendLogs" set spend = ${usd}::float8 where request_id = 'r'`.execute(database.db);
const audit = (heal: boolean) =>
  auditCompleteness(database.db, { from: new Date(Date.now() - DAY_MS), to: new Date(Date.now() + DAY_MS), heal, rate: RATE });
const remove = (...keys: readonly string[]) =>
  tamper(database.db, sql`delete from billing_events where idempotency_key = any(${keys}::text[])`);

it.each([
  ["sealed", ["adj:r:1"], { adjustment_deleted: 1, event_deleted: 0, missing_usd: "0.2000001" }],
  ["open", ["adj:r:3"], { adjustment_deleted: 1, event_deleted: 0, missing_usd: "-0.1000001" }],
  ["refunding", ["adj:r:2"], { adjustment_deleted: 0, event_deleted: 1, missing_usd: "-0.1" }],
  ["of an event that is gone itself, but not the adjustment", ["llm:r"], { adjustment_deleted: 0, event_deleted: 1, missing_usd: "0.6" }],
  ["sealed, and the refund with it", ["adj:r:1", "adj:r:2"], { adjustment_deleted: 1, event_deleted: 1, missing_usd: "0.1000001" }],
])("a deleted adjustment that was %s is found, named, and put back to the last digit", async (_which, keys, gap) => {
  const ledger = await dumpEvents(database.db);
  await remove(...keys);

  expect((await audit(false)).gaps).toMatchObject([
    { org_id: "org_a", ...gap, examples: expect.arrayContaining([expect.stringMatching(/^r(:correction)?$/)]) },
  ]);
  expect(await readOpenAlerts(database.db)).toMatchObject([{ kind: "ledger_gap" }]);
  expect(await audit(true)).toMatchObject({ missingRows: keys.length, healedRows: keys.length });

  expect(await dumpEvents(database.db)).toBe(ledger);
  expect(await audit(false)).toMatchObject({ gaps: [] });
  expect(await readOpenAlerts(database.db)).toEqual([]);
  await checkLedger(database.db);
  await checkInvariant(database.db);
});

it("an event that is gone gets the rate that its adjustments have, whatever the rate cards say by now", async () => {
  const ledger = await dumpEvents(database.db);
  await addRateCard(database.db, { markup: "7", creditsPerUsd: "100", validFrom: new Date(0) });
  await remove("llm:r");
  expect(await audit(true)).toMatchObject({ healedRows: 1 });
  expect(await dumpEvents(database.db)).toBe(ledger);
});

it("of two that are gone nobody can tell which was what: they stay named, with an alert, and nothing is made up", async () => {
  await remove("adj:r:1", "adj:r:3");
  const ledger = await dumpEvents(database.db);

  expect(await audit(true)).toMatchObject({ missingRows: 1, healedRows: 0, gaps: [{ adjustment_deleted: 1, missing_usd: "0.1" }] });

  expect(await dumpEvents(database.db)).toBe(ledger);
  expect(await readOpenAlerts(database.db)).toMatchObject([{ kind: "ledger_gap", facts: { example: "r" } }]);
});

it("a request that was adjusted and lacks nothing is no gap", async () => {
  expect(await audit(false)).toMatchObject({ gaps: [] });
});

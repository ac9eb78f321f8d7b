import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { auditCompleteness } from "./audit.ts";
import { maintainPartitions, readLowWaterMark, retireMonth, watchSourceRetention } from "../ledger/retention.ts";
import { readOpenAlerts, readPartitions } from "../ledger/retention-db.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "./spend-sync.ts";
import { checkInvariant, checkLedger, dumpEvents, insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { tamper } from "../../test/test-tampering.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", retired_event_sums, billing_alerts, spend_source_marks, billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(
    database.db,
  );
});

const sync = (options: Partial<Parameters<typeof syncSpend>[1]> = {}) => syncSpend(database.db, { rate: RATE, ...options });
const deliver = async () => settle(database.db, { sink: new ScriptedSink() });
const lastTwoDays = () => ({ from: new Date(Date.now() - 2 * DAY_MS), to: new Date(Date.now() + HOUR_MS) });
const audit = (heal = false) => auditCompleteness(database.db, { ...lastTwoDays(), heal, rate: RATE });

describe("the completeness audit", () => {
  it("finds a row that was never ingested because it is older than the look-back, names org, day and amount, and heals it", async () => {
    await insertSpendRows(database.db, [
      { requestId: "planted", orgId: "org_gap", spendUsd: "0.07", ageMs: 30 * HOUR_MS },
      { orgId: "org_gap", ageMs: 30 * HOUR_MS },
      {},
    ]);
    // Both on the day of the first, in UTC, whatever the clock says by now.
    const moved = await sql<{ day: string }>`
      update "LiteLLM_SpendLogs" s set "startTime" = p."startTime", "endTime" = p."endTime" from "LiteLLM_SpendLogs" p
      where s.team_id = 'org_gap' and p.request_id = 'planted' returning to_char(s."startTime", 'YYYY-MM-DD') as day`.execute(database.db);
    const day = moved.rows[0]?.day;
    await sync();

    const found = await audit();

    expect(found).toMatchObject({ comparedRows: 3, missingRows: 2, missingUsd: "0.071", healedRows: 0 });
    expect(found.gaps).toMatchObject([{ org_id: "org_gap", day, source_rows: 2, ledger_rows: 0, not_ingested: 2, missing_usd: "0.071" }]);
    expect(await readOpenAlerts(database.db)).toMatchObject([{ kind: "ledger_gap", facts: { orgId: "org_gap", missingUsd: "0.071" } }]);
    expect(await audit(true)).toMatchObject({ missingRows: 2, healedRows: 2 });
    expect(await audit()).toMatchObject({ gaps: [], missingRows: 0 });
    expect(await readOpenAlerts(database.db)).toEqual([]);
    await checkInvariant(database.db);
  });

  it("puts an event back that was deleted behind our back, open or sealed, to the last digit", async () => {
    await insertSpendRows(database.db, [{ requestId: "sealed_one", spendUsd: "0.3" }, { requestId: "sealed_two" }]);
    await sync();
    await deliver();
    await insertSpendRows(database.db, [{ requestId: "open_one", spendUsd: "0.00007" }]);
    await sync();
    const ledger = await dumpEvents(database.db);
    await tamper(database.db, sql`delete from billing_events where request_id in ('sealed_one', 'open_one')`);

    expect(await audit(true)).toMatchObject({ gaps: [{ event_deleted: 2, missing_usd: "0.30007" }], healedRows: 2 });

    expect(await dumpEvents(database.db)).toBe(ledger);
    await checkLedger(database.db);
    await checkInvariant(database.db);
  });

  it("keeps each run, and changes nothing when nothing is missing or when it may only tell", async () => {
    await insertSpendRows(database.db, [{}, { orgId: "" }]);
    await sync();
    const ledger = await dumpEvents(database.db);

    expect(await audit(true)).toMatchObject({ gaps: [], comparedRows: 2 });

    expect(await dumpEvents(database.db)).toBe(ledger);
    expect(
      await database.db.selectFrom("completeness_audits").select(["gaps", "compared_rows"]).orderBy("audit_id", "desc").executeTakeFirst(),
    ).toEqual({ gaps: 0, compared_rows: "2" });
    await expect(auditCompleteness(database.db, { from: new Date(), to: new Date(0) })).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("defect 14 cut-over loss: a ledger that starts late bills the whole backlog in its first sweep", async () => {
    await insertSpendRows(
      database.db,
      [90, 40, 8, 1].map((days) => ({ ageMs: days * DAY_MS })),
    );

    expect(await sync({ fullSweep: true })).toMatchObject({ events: 4 });
  });
});

/** Moves what is recorded to a month that is over, as if time had passed. */
const age = async (month: string) => {
  const name = `billing_events_${month.replace("-", "_")}`;
  await sql`create table if not exists ${sql.table(name)} partition of billing_events for values from (${sql.lit(`${month}-01T00:00:00Z`)}) to (${sql.lit(`${month}-28T00:00:00Z`)})`.execute(
    database.db,
  );
  await tamper(database.db, sql`update billing_events set recorded_at = ${`${month}-10T00:00:00Z`}::timestamptz`);
  await sql`update billing_event_keys set recorded_at = ${`${month}-10T00:00:00Z`}::timestamptz`.execute(database.db);
  await sql`update billing_accounts set open_since = ${`${month}-10T00:00:00Z`}::timestamptz`.execute(database.db);
};

describe("partitions of the ledger", () => {
  it("exist for this month and two ahead, and making them again makes none", async () => {
    expect((await readPartitions(database.db)).length).toBeGreaterThanOrEqual(3);
    expect(await maintainPartitions(database.db)).toEqual({ made: 0, strays: 0 });
  });

  it("pitfall 25 retention deletes unbilled rows: a month with anything open or undelivered is not retired", async () => {
    await insertSpendRows(database.db, [{}]);
    await sync();
    await age("2025-02");

    await expect(retireMonth(database.db, "2025-02")).rejects.toMatchObject({
      code: "partition_not_retirable",
      message: expect.stringContaining("1 of its events are in no batch"),
    });
    const sink = new ScriptedSink();
    sink.script = () => ({ kind: "parked" });
    await settle(database.db, { sink });
    await expect(retireMonth(database.db, "2025-02")).rejects.toMatchObject({ message: expect.stringContaining("not delivered") });
    await expect(retireMonth(database.db, new Date().toISOString().slice(0, 7))).rejects.toMatchObject({
      message: expect.stringContaining("not over"),
    });
    await expect(retireMonth(database.db, "1999-01")).rejects.toMatchObject({ message: expect.stringContaining("no partition") });
  });

  it("leave the ledger delivered: sums still add up, the table stays, and their rows are never billed again", async () => {
    await insertSpendRows(database.db, [{ requestId: "old", spendUsd: "0.5" }]);
    await sync();
    await deliver();
    await age("2025-03");

    expect(await retireMonth(database.db, "2025-03")).toEqual({ month: "2025-03", retired: true, events: 1, refusals: [] });

    expect((await sql<{ count: string }>`select count(*) as count from billing_events_2025_03`.execute(database.db)).rows).toEqual([
      { count: "1" },
    ]);
    await checkLedger(database.db);
    await checkInvariant(database.db);
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0 });
    expect(await audit(true)).toMatchObject({ gaps: [] });
    await sql`drop table billing_events_2025_03`.execute(database.db);
  });

  it("code 7: that are missing stop nothing: the event is billed, moves to its month, and an alert tells of it", async () => {
    await insertSpendRows(database.db, [{}]);
    await sync();
    await tamper(database.db, sql`update billing_events set recorded_at = '2031-05-05T00:00:00Z'`);

    expect(await maintainPartitions(database.db)).toEqual({ made: 0, strays: 1 });

    expect(await readOpenAlerts(database.db)).toMatchObject([{ kind: "partition_missing" }]);
    expect((await sql`select tableoid::regclass::text as partition from billing_events`.execute(database.db)).rows).toEqual([
      { partition: "billing_events_2031_05" },
    ]);
    expect(await maintainPartitions(database.db)).toEqual({ made: 0, strays: 0 });
    await checkLedger(database.db);
  });
});

describe("the low-water mark", () => {
  it("pitfall 25 retention deletes unbilled rows: an alert says between which times the source lost rows that were not billed", async () => {
    await insertSpendRows(database.db, [{ ageMs: 60 * DAY_MS }, { ageMs: 50 * HOUR_MS }]);
    await sync({ fullSweep: true });
    const mark = await readLowWaterMark(database.db);
    expect(mark?.getTime()).toBeLessThan(Date.now() - 23 * HOUR_MS);
    await sql`delete from "LiteLLM_SpendLogs" where "startTime" < (now() - interval '40 days') at time zone 'UTC'`.execute(database.db);
    expect(await watchSourceRetention(database.db)).toBe(false);
    // A backlog while no worker ran, and a retention that did not wait for it.
    await sql`delete from "LiteLLM_SpendLogs"`.execute(database.db);
    await insertSpendRows(database.db, [{ requestId: "what_is_left", ageMs: HOUR_MS }]);

    expect(await sync({ fullSweep: true })).toMatchObject({ events: 1 });

    expect(await readOpenAlerts(database.db)).toMatchObject([{ kind: "source_rows_deleted", facts: { from: mark?.toISOString() } }]);
  });
});

describe("a backlog", () => {
  it("pitfall 17 back-fill flood, defect 13 look-back starvation: live rows are billed before old ones and between them", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 1_000 }, (_, index) => ({ ageMs: 30 * DAY_MS + index * 1_000 })),
    );
    await insertSpendRows(database.db, [{ requestId: "live" }]);
    let chunks = 0;
    const isBilled = async (requestId: string) =>
      (await database.db.selectFrom("billing_events").select("event_id").where("request_id", "=", requestId).execute()).length === 1;
    const seen: Promise<boolean>[] = [];
    const onStep = () => {
      chunks += 1;
      if (chunks === 1) seen.push(isBilled("live"));
    };

    const result = await sync({ fullSweep: true, chunkRows: 40, onStep });

    expect(result.events).toBe(1_001);
    expect(await Promise.all(seen)).toEqual([true]);
  });

  it("is billed whole, however many rows one org has (defect 02 only page 1 is read, defect 13)", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 700 }, (_, index) => ({ ageMs: 240_000 + (index % 50) * 1_000 })),
    );

    expect(await sync({ chunkRows: 100 })).toMatchObject({ events: 700 });
  });
});

it("pitfall 22 month boundary: 23:59:59.999 and 00:00 UTC are in different months of usage, whenever they are recorded", async () => {
  await insertSpendRows(database.db, [{ requestId: "before" }, { requestId: "after" }]);
  await sql`update "LiteLLM_SpendLogs" set "startTime" = case request_id when 'before' then timestamp '2026-01-31 23:59:59.999' else timestamp '2026-02-01 00:00:00' end`.execute(
    database.db,
  );
  await sync({ fullSweep: true });

  const result = await sql<{ request_id: string; month: string; is_carried_over: boolean }>`
    select request_id, to_char(occurred_at at time zone 'UTC', 'YYYY-MM') as month, date_trunc('month', recorded_at) > date_trunc('month', occurred_at) as is_carried_over
    from billing_events order by occurred_at`.execute(database.db);

  expect(result.rows).toEqual([
    { request_id: "before", month: "2026-01", is_carried_over: true },
    { request_id: "after", month: "2026-02", is_carried_over: true },
  ]);
});

it("code 10: an audit looks at its range slice by slice, finds a gap in whichever, and then tells sums of the whole range", async () => {
  // Yesterday at noon, so that midnight does not come between.
  const ageMs = Date.now() - new Date(Date.now() - DAY_MS).setUTCHours(12, 0, 0, 0);
  const rows = Array.from({ length: 2_500 }, (_, index) => ({ requestId: `of_many_${index}`, orgId: "org_many", ageMs: ageMs - index }));
  await insertSpendRows(database.db, rows);
  await sync({ lookBackMs: 2 * DAY_MS });
  expect((await audit()).gaps).toEqual([]);
  await tamper(database.db, sql`delete from billing_events where request_id = 'of_many_2400'`);

  const { gaps } = await audit();

  expect(gaps).toMatchObject([{ org_id: "org_many", source_rows: 2_500, event_deleted: 1, examples: ["of_many_2400"] }]);
});

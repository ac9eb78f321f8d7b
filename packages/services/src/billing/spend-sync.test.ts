import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { openDatabase } from "@proliferate/db";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { syncSpend } from "./spend-sync.ts";
import { checkLedger, dumpEvents, insertSpendRows, readLedgerSums } from "../../test/test-ledger.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const HOUR_MS = 3_600_000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(database.db);
});

const crash = () => {
  throw new Error("crash");
};

const sync = (options: Partial<Parameters<typeof syncSpend>[1]> = {}) => syncSpend(database.db, { rate: RATE, ...options });

async function readEvents() {
  return database.db.selectFrom("billing_events").selectAll().orderBy("event_id").execute();
}

describe("a spend row becomes one event", () => {
  it("pitfall 04 float money: with exact credits at the markup, and the rate frozen on it", async () => {
    await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.1", sessionId: "session_9" }]);

    const result = await sync();

    expect(result).toMatchObject({ events: 1, credits: "30", reviews: 0 });
    const [event] = await readEvents();
    expect(event).toMatchObject({
      idempotency_key: "llm:msg_1",
      org_id: "org_a",
      session_id: "session_9",
      spend_usd: "0.1",
      markup: "3",
      credits_per_usd: "100",
    });
    expect(event?.credits).toBe("30.0");
  });

  it("in the amount that the writer meant, not the 15 digits that a cast keeps", async () => {
    await insertSpendRows(database.db, [{ spendUsd: "0.12345678901234566" }, { spendUsd: "1.5e-05" }]);

    await sync();

    expect((await readEvents()).map((event) => event.spend_usd).sort()).toEqual(["0.000015", "0.12345678901234566"]);
  });

  it("keeps the old rate on old events when the markup changes", async () => {
    await insertSpendRows(database.db, [{ spendUsd: "1" }]);
    await sync();
    await insertSpendRows(database.db, [{ spendUsd: "1" }]);

    await sync({ rate: { markup: "2.5", creditsPerUsd: "100" } });

    expect((await readEvents()).map((event) => Number(event.credits))).toEqual([300, 250]);
  });

  it("pitfall 01 late rows, defect 01 late rows never billed: even when it is dated 6 h ago and arrives after ten passes", async () => {
    for (let pass = 0; pass < 10; pass += 1) {
      await insertSpendRows(database.db, [{}]);
      await sync();
    }
    await insertSpendRows(database.db, [{ requestId: "msg_late", ageMs: 6 * HOUR_MS }]);

    expect(await sync()).toMatchObject({ events: 1 });

    expect((await readEvents()).filter((event) => event.request_id === "msg_late")).toHaveLength(1);
  });

  it("by the full sweep when it is older than the look-back", async () => {
    await insertSpendRows(database.db, [{ ageMs: 30 * HOUR_MS }]);

    expect(await sync()).toMatchObject({ events: 0 });
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 1 });
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0 });
  });

  it("pitfall 02 commit-order skip: when a transaction that began earlier commits after a later one", async () => {
    const other = openDatabase({ connectionString: database.connectionString });
    const slow = await other.startTransaction().execute();
    await insertSpendRows(slow, [{ requestId: "msg_slow", ageMs: 5_000 }]);
    await insertSpendRows(database.db, [{ requestId: "msg_fast", ageMs: 1_000 }]);
    expect(await sync()).toMatchObject({ events: 1 });
    await slow.commit().execute();
    await other.destroy();

    expect(await sync()).toMatchObject({ events: 1 });

    expect((await readEvents()).map((event) => event.request_id).sort()).toEqual(["msg_fast", "msg_slow"]);
  });

  it("with nothing to pay when it cost nothing, so that it is not read for ever", async () => {
    await insertSpendRows(database.db, [{ spendUsd: "0" }]);

    expect(await sync()).toMatchObject({ events: 1, credits: "0" });
    expect(await sync()).toMatchObject({ events: 0 });
  });
});

describe("running it again", () => {
  it("pitfall 16 replay: three times leaves a byte-identical ledger", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 300 }, (_, index) => ({ orgId: `org_${index % 7}`, spendUsd: `0.${index + 1}7` })),
    );
    await sync();
    const ledger = await dumpEvents(database.db);

    await sync();
    await sync({ fullSweep: true });

    expect(await dumpEvents(database.db)).toBe(ledger);
    await checkLedger(database.db);
  });

  it("at once from four workers makes each event once (pitfall 15 two workers)", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 2_000 }, (_, index) => ({ orgId: `org_${index % 11}` })),
    );

    const results = await Promise.all(Array.from({ length: 4 }, () => sync({ chunkRows: 150 })));

    expect(results.reduce((sum, result) => sum + result.events, 0)).toBe(2_000);
    expect(await readLedgerSums(database.db)).toMatchObject({ events: "600", open: "600" });
  });

  it("after a crash between two chunks bills the rest", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 25 }, (_, index) => ({ ageMs: 1_000 + index })),
    );
    await expect(sync({ chunkRows: 10, onStep: crash })).rejects.toThrow("crash");

    expect(await sync({ chunkRows: 10 })).toMatchObject({ events: 15 });
  });

  it("bills many rows of one instant in chunks smaller than that instant", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 47 }, () => ({ ageMs: 1_000 })),
    );

    expect(await sync({ chunkRows: 5 })).toMatchObject({ events: 47 });
  });
});

describe("a row that cannot be billed", () => {
  it("is put in review with its reason, once, and holds up nobody (pitfalls 13, 18, 19)", async () => {
    await insertSpendRows(database.db, [
      { requestId: "msg_null", orgId: null },
      { requestId: "msg_empty", orgId: "" },
      { requestId: "msg_long", orgId: "x".repeat(5_000) },
      { requestId: "msg_nan", spendUsd: "NaN" },
      { requestId: "msg_infinite", spendUsd: "-Infinity" },
      { requestId: "msg_absurd", spendUsd: "1e9" },
      { requestId: "" },
      { requestId: "msg_good" },
    ]);

    expect(await sync()).toMatchObject({ events: 1, reviews: 7 });
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0, reviews: 0 });

    const reviews = await database.db.selectFrom("spend_reviews").select(["request_id", "reason"]).orderBy("request_id").execute();
    expect(reviews).toEqual([
      { request_id: "", reason: "no_request_id" },
      { request_id: "msg_absurd", reason: "bad_spend" },
      { request_id: "msg_empty", reason: "no_org" },
      { request_id: "msg_infinite", reason: "bad_spend" },
      { request_id: "msg_long", reason: "no_org" },
      { request_id: "msg_nan", reason: "bad_spend" },
      { request_id: "msg_null", reason: "no_org" },
    ]);
  });

  it("is billed, and its review closed, once its org is known", async () => {
    await insertSpendRows(database.db, [{ requestId: "msg_orphan", orgId: "" }]);
    await sync();
    await sql`update "LiteLLM_SpendLogs" set team_id = 'org_found' where request_id = 'msg_orphan'`.execute(database.db);

    expect(await sync()).toMatchObject({ events: 1, resolvedReviews: 1 });
    expect(await sync()).toMatchObject({ events: 0, resolvedReviews: 0 });
  });
});

describe("a source that is partitioned, where an id can stand twice", () => {
  it("pitfall 18 empty or duplicate ids: bills each id once; a second request under a used id, and each row without id, is in review", async () => {
    await sql`alter table "LiteLLM_SpendLogs" drop constraint "LiteLLM_SpendLogs_pkey"`.execute(database.db);
    await insertSpendRows(database.db, [
      { requestId: "twice" },
      { requestId: "twice", ageMs: 90_000 },
      ...[1, 2, 3].map((n) => ({ requestId: "", ageMs: n * 1_000 })),
    ]);

    const result = await sync();

    expect(result).toMatchObject({ events: 1, reviews: 4 });
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0, reviews: 0 });
    expect(await database.db.selectFrom("spend_reviews").select("reason").orderBy("reason").execute()).toEqual([
      ...[1, 2, 3].map(() => ({ reason: "no_request_id" })),
      { reason: "recycled_id" },
    ]);
    await sql`truncate "LiteLLM_SpendLogs"`.execute(database.db);
    await sql`alter table "LiteLLM_SpendLogs" add primary key (request_id)`.execute(database.db);
  });
});

it("says that LiteLLM has not made its table yet", async () => {
  const elsewhere = openDatabase({ connectionString: database.connectionString, litellmSchema: "not_migrated" });

  await expect(syncSpend(elsewhere, { rate: RATE })).rejects.toMatchObject({ code: "spend_source_missing" });
  await elsewhere.destroy();
});

import { migrate, openDatabase, type DatabaseClient } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { importLateRows, importSpendRows } from "./spend-import.ts";
import { MIRROR_SCHEMA } from "./spend-import-db.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { dumpBilling, insertSpendRows } from "../../test/test-ledger.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LAST_DAYS = () => ({ from: new Date(Date.now() - 48 * HOUR_MS), to: new Date(Date.now() + HOUR_MS) });

let database: TestDatabase;
let mirror: DatabaseClient;
let litellm: LiteLLMStandIn;
beforeAll(async () => {
  database = await createTestDatabase();
  await migrate({ connectionString: database.connectionString, litellmSchema: MIRROR_SCHEMA, sets: ["litellm"] });
  mirror = openDatabase({ connectionString: database.connectionString, litellmSchema: MIRROR_SCHEMA });
  litellm = await startLiteLLMStandIn({ spendLogs: { totalCap: 300 } });
});
afterAll(async () => {
  await mirror.destroy();
  await litellm.stop();
  await database.drop();
});
beforeEach(async () => {
  litellm.reset();
  await sql`truncate billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(database.db);
  await sql`alter sequence billing_event_ids restart`.execute(database.db);
  await sql`truncate litellm."LiteLLM_SpendLogs"`.execute(database.db);
  await sql`truncate litellm_imported."LiteLLM_SpendLogs"`.execute(database.db);
});

const api = () => ({ adminUrl: litellm.url, masterKey: litellm.masterKey });
const importAll = () => importSpendRows(mirror, api(), LAST_DAYS());
const countMirrored = async () =>
  (
    await mirror
      .selectFrom("LiteLLM_SpendLogs")
      .select((eb) => eb.fn.countAll<string>().as("count"))
      .executeTakeFirstOrThrow()
  ).count;

/** Serves what stands in the source's table, as LiteLLM's API would. */
async function serveSource(): Promise<void> {
  const rows = await sql<{ row: Record<string, unknown>; spend: string }>`
    select to_jsonb(s) - 'spend' || jsonb_build_object('startTime', to_char("startTime", 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'endTime', to_char("endTime", 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as row,
      spend::text as spend from "LiteLLM_SpendLogs" s`.execute(database.db);
  litellm.spendRows.push(...rows.rows.map(({ row, spend }) => ({ ...(row as { request_id: string; startTime: string }), spend })));
}

describe("spend rows over REST", () => {
  it("make the very ledger, byte for byte, that the same rows make over SQL", async () => {
    const spends = ["0.1", "0.12345678901234566", "1.5e-05", "0", "-0.5", "3.3e-7", "1234.5", "5e-324"];
    await insertSpendRows(
      database.db,
      Array.from({ length: 640 }, (_, index) => ({
        requestId: `r${index}`,
        orgId: [`org_${index % 5}`, "", null][index % 31 === 0 ? 1 + (index % 2) : 0] ?? null,
        spendUsd: spends[index % spends.length] ?? "1",
        ageMs: index * 37_000,
      })),
    );
    await serveSource();
    await syncSpend(database.db, { rate: RATE, fullSweep: true });
    const overSql = await dumpBilling(database.db);
    await sql`truncate billing_events, spend_reviews, billing_accounts cascade`.execute(database.db);
    await sql`alter sequence billing_event_ids restart`.execute(database.db);

    await importAll();
    await syncSpend(mirror, { rate: RATE, fullSweep: true });

    expect(overSql.split("\n").length).toBeGreaterThan(600);
    expect(await dumpBilling(database.db)).toBe(overSql);
  });

  it("defect 02 only page 1 is read: every page of every window is, also where the API stops counting and within one second", async () => {
    await insertSpendRows(database.db, [
      ...Array.from({ length: 900 }, (_, index) => ({ ageMs: index * 10_000 })),
      ...Array.from({ length: 450 }, () => ({ ageMs: 5 * HOUR_MS })),
    ]);
    await serveSource();

    expect((await importAll()).written).toBe(1_350);

    expect(await countMirrored()).toBe("1350");
    expect(await importAll()).toMatchObject({ written: 0 });
    expect(litellm.requests.every((request) => request.query["page_size"] === "100")).toBe(true);
  });

  it("that changed at the source are written over, and billed as an adjustment", async () => {
    await insertSpendRows(database.db, [{ requestId: "late", spendUsd: "1" }]);
    await serveSource();
    await importAll();
    await syncSpend(mirror, { rate: RATE });
    litellm.spendRows[0] = { ...(litellm.spendRows[0] as (typeof litellm.spendRows)[number]), spend: "1.2" };

    expect(await importAll()).toMatchObject({ written: 1 });

    expect(await syncSpend(mirror, { rate: RATE })).toMatchObject({ adjustments: 1, credits: "60" });
  });

  it("that came into the source's table days later are brought in, without reading again what is there", async () => {
    await insertSpendRows(
      database.db,
      Array.from({ length: 250 }, (_, index) => ({ requestId: `early_${index}`, ageMs: 4 * DAY_MS + index * 60_000 })),
    );
    await serveSource();
    const window = { from: new Date(Date.now() - 31 * DAY_MS), to: new Date(Date.now() - DAY_MS) };
    const first = await importLateRows(mirror, api(), window);
    const requestsBefore = litellm.requests.length;
    const again = await importLateRows(mirror, api(), window);
    const requestsAgain = litellm.requests.length - requestsBefore;
    litellm.spendRows.push({ ...(litellm.spendRows[7] as (typeof litellm.spendRows)[number]), request_id: "late" });
    const found = await importLateRows(mirror, api(), window);

    expect([first, again, requestsAgain]).toEqual([{ read: 250, written: 250 }, { read: 0, written: 0 }, 1]);
    expect(found).toMatchObject({ written: 1 });
    expect(await countMirrored()).toBe("251");
  });

  it("of an API that gives one page again and again are an error, instead of an import without an end", async () => {
    const now = new Date().toISOString();
    const data = Array.from({ length: 100 }, (_, index) => ({ request_id: `r_${index}`, startTime: now, endTime: now, spend: 1 }));
    const page = { kind: "answer", status: 200, body: { data, total: 250, page: 1, page_size: 100, total_pages: 3 } } as const;
    litellm.failNext("/spend/logs/v2", ...Array.from({ length: 10 }, () => page));

    await expect(importAll()).rejects.toMatchObject({ code: "llm_proxy_failed", message: expect.stringContaining("comes to no end") });

    expect(litellm.requests).toHaveLength(2);
    expect(await countMirrored()).toBe("100");
  });

  it("that cannot be read are an error that names the call and not the key", async () => {
    const refused = importSpendRows(mirror, { adminUrl: litellm.url, masterKey: "sk-wrong-master-key" }, LAST_DAYS());

    await expect(refused).rejects.toMatchObject({ code: "llm_proxy_failed", message: expect.stringContaining("status 401") });
    await expect(refused).rejects.not.toMatchObject({ message: expect.stringContaining("wrong-master") });
    await expect(importSpendRows(mirror, { adminUrl: "http://127.0.0.1:1", masterKey: "k" }, LAST_DAYS())).rejects.toMatchObject({
      code: "llm_proxy_failed",
    });
  });
});

import { migrate, openDatabase, type DatabaseClient } from "@proliferate/db";
import { importSource, MIRROR_SCHEMA } from "@proliferate/services/import";
import { importSpendRows } from "@proliferate/services/test/internals";
import { syncSpend } from "@proliferate/services/billing";
import { dumpBilling, insertSpendRows, type SpendRow } from "@proliferate/services/test/test-ledger";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { manage, MASTER_KEY, mintKey } from "@proliferate/llm-proxy/test/proxy-process";
import { MESSAGE, post, startTestStack, type TestStack } from "@proliferate/llm-proxy/test/test-stack";

/** Billing over REST against our own engine: what it serves at /spend/logs/v2 is as good as its table. */

const RATE = { markup: "3", creditsPerUsd: "100" };
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

let stack: TestStack;
let mirror: DatabaseClient;
beforeAll(async () => {
  stack = await startTestStack();
  await migrate({ connectionString: stack.database.connectionString, litellmSchema: MIRROR_SCHEMA, sets: ["litellm"] });
  mirror = openDatabase({ connectionString: stack.database.connectionString, litellmSchema: MIRROR_SCHEMA });
});
afterAll(async () => {
  await mirror.destroy();
  await stack.stop();
});
beforeEach(async () => {
  await forgetLedger();
  await sql`truncate litellm."LiteLLM_SpendLogs", litellm_imported."LiteLLM_SpendLogs", litellm_imported."LiteLLM_VerificationToken"`.execute(
    stack.database.db,
  );
});

const api = () => ({ adminUrl: stack.proxy.adminUrl, masterKey: MASTER_KEY });
const serve = (rows: readonly SpendRow[]) => insertSpendRows(stack.database.db, rows);
const importAll = (lookBackMs = HOUR_MS) => importSource(mirror, api(), { lookBackMs });
const countMirrored = async (): Promise<number> =>
  Number(
    (
      await mirror
        .selectFrom("LiteLLM_SpendLogs")
        .select((eb) => eb.fn.countAll<string>().as("count"))
        .executeTakeFirstOrThrow()
    ).count,
  );

async function forgetLedger(): Promise<void> {
  await sql`truncate billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(stack.database.db);
  await sql`alter sequence billing_event_ids restart`.execute(stack.database.db);
}

/** The ledger that the source makes over SQL, then the one that it makes over REST. */
async function bothLedgers(): Promise<readonly [sql: string, rest: string]> {
  await syncSpend(stack.database.db, { rate: RATE, fullSweep: true });
  const overSql = await dumpBilling(stack.database.db);
  await forgetLedger();
  await importAll();
  await syncSpend(mirror, { rate: RATE, fullSweep: true });
  return [overSql, await dumpBilling(stack.database.db)];
}

describe("over REST from our engine", () => {
  test("the same rows make the very ledger that they make over SQL: every amount, owner, failure, correction and review", async () => {
    const spends = ["0.1", "0.12345678901234566", "1.5e-05", "0", "-0.5", "3.3e-7", "1234.5", "5e-324", "NaN"];
    const orgs = ["org_0", "org_1", "", null] as const;
    await serve(
      Array.from({ length: 330 }, (_, index) => ({
        requestId: `r${index}`,
        orgId: orgs[index % 4] ?? null,
        spendUsd: spends[index % spends.length] ?? "1",
        ageMs: index * 293_000,
      })),
    );
    await serve([{ requestId: "r0:correction", orgId: "org_0", spendUsd: "-0.05" }]);

    const [overSql, overRest] = await bothLedgers();

    expect(overSql.split("\n").length).toBeGreaterThan(300);
    expect(overRest).toBe(overSql);
  });

  test("requests that the engine itself answered are billed alike, and a key without team in its rows by the key's team", async () => {
    await manage(stack.proxy, "/team/new", { team_id: "org_of_key" });
    const { key } = await mintKey(stack.proxy, { team_id: "org_of_key" });
    const answers = await Promise.all([
      post(stack, "/v1/messages", MESSAGE),
      post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } }),
    ]);
    expect(await Promise.all(answers.map(async (answer) => (await answer.text(), answer.status)))).toEqual([200, 200]);
    await sql`update litellm."LiteLLM_SpendLogs" set team_id = ''`.execute(stack.database.db);

    const [overSql, overRest] = await bothLedgers();

    expect(overSql).toMatch(/ org_of_key llm [\s\S]* no_org /);
    expect(overRest).toBe(overSql);
  });

  test("every page is read, also of one second with more rows than the API of LiteLLM counts", async () => {
    await serve([...Array.from({ length: 450 }, (_, index) => ({ ageMs: index * 30_000 }))]);
    await sql`insert into litellm."LiteLLM_SpendLogs" (request_id, call_type, team_id, spend, "startTime", "endTime")
      select 'same_' || n, 'anthropic_messages', 'org_a', 0.001, date_trunc('second', now() at time zone 'UTC' - interval '2 hours') + interval '500 ms', now() at time zone 'UTC' from generate_series(1, 10050) n`.execute(
      stack.database.db,
    );

    expect(await importAll()).toEqual({ read: 10_500, written: 10_500 });
    expect(await countMirrored()).toBe(10_500);
  });

  test("rows that come late, or change, come with the next import that looks back far enough, once", async () => {
    await serve([{ requestId: "early", spendUsd: "1" }]);
    await importAll();
    await serve([{ requestId: "late", spendUsd: "2", ageMs: 30 * MINUTE_MS }]);
    await sql`update litellm."LiteLLM_SpendLogs" set spend = 1.5 where request_id = 'early'`.execute(stack.database.db);

    expect(await importAll(15 * MINUTE_MS)).toMatchObject({ written: 1 });
    expect(await importAll(HOUR_MS)).toMatchObject({ written: 1 });
    expect(await importAll(HOUR_MS)).toMatchObject({ written: 0 });
  });

  test("the first import brings everything, and one after days of absence all that was missed", async () => {
    await serve([
      { requestId: "of_last_year", ageMs: 400 * DAY_MS },
      { requestId: "of_last_week", ageMs: 7 * DAY_MS },
    ]);
    await importAll(15 * MINUTE_MS);
    expect(await countMirrored()).toBe(2);

    await serve(Array.from({ length: 6 }, (_, index) => ({ requestId: `missed_${index}`, ageMs: (index + 1) * DAY_MS })));
    await importAll(15 * MINUTE_MS);
    expect(await countMirrored()).toBe(8);
  });

  test("an import that breaks off is taken up where it ended, and bills nothing twice", async () => {
    await serve(Array.from({ length: 250 }, (_, index) => ({ spendUsd: "0.1", ageMs: (250 - index) * MINUTE_MS })));
    let pages = 0;
    const realFetch = globalThis.fetch;
    globalThis.fetch = async (...call) => {
      pages += 1;
      if (pages === 3) throw new TypeError("fetch failed");
      return realFetch(...call);
    };
    try {
      await expect(importAll()).rejects.toMatchObject({ code: "llm_proxy_failed" });
    } finally {
      globalThis.fetch = realFetch;
    }
    expect(await countMirrored()).toBe(200);
    await syncSpend(mirror, { rate: RATE, fullSweep: true });
    await importAll();
    await syncSpend(mirror, { rate: RATE, fullSweep: true });

    const { rows } = await sql<{
      events: string;
      credits: string;
    }>`select count(*) as events, trim_scale(sum(credits)) as credits from billing_events`.execute(stack.database.db);
    expect(rows).toEqual([{ events: "250", credits: "7500" }]);
  });

  test("a wrong master key is an error that names the call and not the key", async () => {
    const refused = importSpendRows(
      mirror,
      { adminUrl: stack.proxy.adminUrl, masterKey: "sk-not-the-master-key" },
      { from: new Date(Date.now() - HOUR_MS), to: new Date() },
    );

    await expect(refused).rejects.toMatchObject({
      code: "llm_proxy_failed",
      message: expect.stringMatching(/GET \/spend\/logs\/v2 .*status 401/),
    });
    await expect(refused).rejects.not.toMatchObject({ message: expect.stringContaining("not-the-master") });
  });
});

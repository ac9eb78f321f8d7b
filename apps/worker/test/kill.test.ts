import { setTimeout as delay } from "node:timers/promises";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { checkLedger, insertSpendRows, readLedgerSums } from "@proliferate/services/billing/test-ledger";
import { addDecimals } from "@proliferate/shared/money";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { startWorkerProcess, waitUntil, type WorkerProcess } from "./worker-process.ts";

const ORGS = ["org_a", "org_b", "org_c"];
const redisUrl = process.env["TEST_REDIS_URL"];

let database: TestDatabase;
let autumn: AutumnEmulator;
const workers = new Set<WorkerProcess>();
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  autumn = await startAutumnEmulator();
  for (const org of ORGS) autumn.grant(org, "100000");
});
afterEach(async () => {
  await Promise.all([...workers].map((worker) => worker.end("SIGKILL")));
  workers.clear();
  await autumn.stop();
});

async function startWorker(): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({
    DATABASE_URL: database.connectionString,
    AUTUMN_API_KEY: "am_sk_test_1",
    AUTUMN_API_URL: autumn.url,
    LLM_SYNC_INTERVAL_MS: "100",
    OUTBOX_INTERVAL_MS: "150",
    ...(redisUrl ? { REDIS_URL: redisUrl } : {}),
  });
  workers.add(worker);
  return worker;
}

async function kill(worker: WorkerProcess): Promise<void> {
  workers.delete(worker);
  await worker.end("SIGKILL");
}

/** Lets the leases of the dead and the waits of the living be over, as time would. */
async function letTimePass(): Promise<void> {
  await database.db.deleteFrom("settlement_org_backoff").execute();
  await database.db.deleteFrom("settlement_circuits").execute();
  await database.db
    .updateTable("settlement_batches")
    .set({ next_attempt_at: new Date(0), lease_until: new Date(0) })
    .where("state", "in", ["sending", "unknown", "sealed"])
    .execute();
}

it("kill -9 of either worker at any time loses nothing and charges nothing twice", async () => {
  const rounds = 10;
  const rowsPerBurst = 40;
  let rows = 0;
  const ending = new AbortController();
  const load = (async () => {
    while (!ending.signal.aborted) {
      await insertSpendRows(database.db, Array.from({ length: rowsPerBurst }, (_, index) => ({ orgId: ORGS[index % 3] ?? null, spendUsd: String(Math.random() / 10) })));
      rows += rowsPerBurst;
      await delay(30);
    }
  })();

  await Promise.all([startWorker(), startWorker()]);
  for (let round = 0; round < rounds; round += 1) {
    if (round % 2 === 0) autumn.failNext({ kind: "reset_after_apply" });
    await delay(100 + Math.random() * 400);
    const [victim] = [...workers].toSorted(() => Math.random() - 0.5);
    if (victim) await kill(victim);
    await checkLedger(database.db);
    await letTimePass();
    await startWorker();
  }
  ending.abort();
  await load;

  const sums = await waitUntil(
    async () => {
      await letTimePass();
      await delay(200);
      const { count } = await database.db.selectFrom("billing_events").select((eb) => eb.fn.countAll().as("count")).executeTakeFirstOrThrow();
      return { ...(await readLedgerSums(database.db)), count: Number(count) };
    },
    (ledger) => ledger.count === rows && ledger.open === "0" && ledger.delivered === ledger.batches,
    30_000,
  );
  await checkLedger(database.db);
  expect(addDecimals(sums.delivered, sums.carry)).toBe(sums.events);
  expect(addDecimals(...ORGS.map((org) => autumn.deducted(org)))).toBe(sums.delivered);
  const events = await database.db.selectFrom("billing_events").select("spend_usd").execute();
  expect(addDecimals(...events.map((event) => event.spend_usd))).toBe(await sourceSpend());
}, 90_000);

/** Exact sum of the source, added up here and not by the statement under test. */
async function sourceSpend(): Promise<string> {
  const source = await database.db.selectFrom("LiteLLM_SpendLogs").select("spend").execute();
  return addDecimals(...source.map((row) => row.spend));
}

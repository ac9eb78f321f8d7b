import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { requestFlush } from "@proliferate/services/settlement";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { patience, until } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startWorkerProcess, type WorkerProcess } from "./worker-process.ts";

const SECRET_KEY = "am_sk_test_settlement";

let database: TestDatabase;
let autumn: AutumnEmulator;
let folder: string;
const workers: WorkerProcess[] = [];
beforeEach(async () => {
  [database, autumn, folder] = await Promise.all([
    createTestDatabase(),
    startAutumnEmulator({ secretKey: SECRET_KEY, maxApiVersion: "2.3.0" }),
    mkdtemp(join(tmpdir(), "worker-")),
  ]);
  autumn.grant("org_a", "100000");
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.end("SIGKILL")));
  await Promise.all([autumn.stop(), database.drop(), rm(folder, { recursive: true })]);
});

async function start(overrides: Readonly<Record<string, string>> = {}): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({
    DATABASE_URL: database.connectionString,
    AUTUMN_API_KEY: SECRET_KEY,
    AUTUMN_API_URL: autumn.url,
    ...overrides,
  });
  workers.push(worker);
  return worker;
}

const isIdle = async (worker: WorkerProcess): Promise<number> => (await fetch(`${worker.url}/readyz`)).status;

it("settles an org at once when its session ended, a minute ahead of the regular pass", async () => {
  const worker = await start({ LLM_SYNC_INTERVAL_MS: "60000", OUTBOX_INTERVAL_MS: "60000" });
  await until(
    () => isIdle(worker),
    (status) => status === 200,
  );
  await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);
  const endedAt = performance.now();

  await requestFlush(database.db, "org_a");
  await until(
    async () => autumn.deducted("org_a"),
    (deducted) => deducted === "30",
  );

  expect(performance.now() - endedAt).toBeLessThan(patience(4_000));
  expect(await database.db.selectFrom("settlement_flush_requests").selectAll().execute()).toEqual([]);
});

it("names the setting to change when Autumn does not serve the API version, and goes on metering", async () => {
  const worker = await start({ AUTUMN_API_VERSION: "9.0", LLM_SYNC_INTERVAL_MS: "200", OUTBOX_INTERVAL_MS: "200" });
  await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);

  const log = await until(
    async () => worker.log(),
    (text) => text.includes("sink.not_ready"),
  );
  const events = await until(
    async () => database.db.selectFrom("billing_events").selectAll().execute(),
    (rows) => rows.length > 0,
  );

  expect(log).toContain("AUTUMN_API_VERSION");
  expect(events).toHaveLength(1);
});

it("settles into a file with Autumn as its shadow", async () => {
  const file = join(folder, "settled.jsonl");
  await start({
    SETTLEMENT_SINK: "jsonl",
    SETTLEMENT_FILE: file,
    SETTLEMENT_SHADOW_SINK: "autumn",
    LLM_SYNC_INTERVAL_MS: "200",
    OUTBOX_INTERVAL_MS: "200",
  });
  await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);

  await until(
    async () => autumn.deducted("org_a"),
    (deducted) => deducted === "30",
  );
  const results = await until(
    async () => database.db.selectFrom("sink_shadow_results").selectAll().execute(),
    (rows) => rows.length === 1,
  );

  expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ org_id: "org_a", credits: "30" });
  expect(results).toMatchObject([{ sink: "autumn", primary_outcome: "delivered", shadow_outcome: "delivered", shadow_credits: "30" }]);
});

it("names the variable that a chosen sink lacks", async () => {
  await expect(start({ SETTLEMENT_SINK: "stripe" })).rejects.toThrow(/STRIPE_API_KEY/);
});

it("defect 20, aggregation: makes one call a pass for each org that was active, not for each request, in less than 200 MB by plain HTTP", async () => {
  const orgIds = Array.from({ length: 20 }, (_, index) => `org_${index}`);
  for (const orgId of orgIds) autumn.grant(orgId, "1000");
  await insertSpendRows(
    database.db,
    Array.from({ length: 4_000 }, (_, index) => ({ orgId: orgIds[index % 20] ?? "", spendUsd: "0.0001" })),
  );

  const worker = await start({ AUTUMN_CLIENT: "http", LLM_SYNC_INTERVAL_MS: "60000", OUTBOX_INTERVAL_MS: "300" });
  await until(
    async () => orgIds.map((orgId) => autumn.deducted(orgId)),
    (deducted) => deducted.every((credits) => credits === "6"),
  );

  const tracks = autumn.calls.filter((call) => call.path === "/v1/balances.track");
  expect(tracks).toHaveLength(20);
  const rss = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${worker.child.pid}/status`, "utf8"))?.[1];
  expect(Number(rss) / 1_000).toBeLessThan(200);
});

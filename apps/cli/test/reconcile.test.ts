import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { createAutumnSink } from "@proliferate/services/sinks";
import { settle } from "@proliferate/services/settlement";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type CliResult, runCli } from "./cli-process.ts";

const SECRET_KEY = "am_sk_test_reconcile";
// Each test starts several processes, and a busy machine takes seconds for one.
vi.setConfig({ testTimeout: 90_000 });

let database: TestDatabase;
let autumn: AutumnEmulator;
beforeEach(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator({ secretKey: SECRET_KEY });
  autumn.grant("org_a", "100");
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.01" }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  await settle(database.db, {
    sink: createAutumnSink({ secretKey: SECRET_KEY, serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits" }),
  });
});
afterEach(async () => {
  await autumn.stop();
  await database.drop();
});

const billing = (...argv: readonly string[]): Promise<CliResult> =>
  runCli(argv, { DATABASE_URL: database.connectionString, AUTUMN_API_KEY: SECRET_KEY, AUTUMN_API_URL: autumn.url });

test("a dry run tells what would be done and does nothing; the real one sets the balance, and repeating it changes nothing", async () => {
  const dry = await billing("reconcile", "--dry-run");
  expect(dry).toMatchObject({ status: 0, stderr: "" });
  expect(dry.stdout).toMatch(/nothing is changed.*org_a: sink 97 - unposted 0; unknown would be set to 97: first_sight/s);
  expect(await database.db.selectFrom("billing_accounts").select("balance_credits").execute()).toEqual([{ balance_credits: null }]);

  expect((await billing("reconcile")).stdout).toContain("unknown set to 97: first_sight");
  const again = await billing("reconcile", "--org", "org_a", "--json");
  expect(JSON.parse(again.stdout)).toMatchObject({
    dry_run: false,
    deliveries: { findings: [] },
    balances: [{ org_id: "org_a", cause: "agrees", after_credits: "97" }],
  });
});

test("a planted drift is named with its cause, and exits 5", async () => {
  await billing("reconcile");
  await database.db.updateTable("billing_accounts").set({ balance_credits: "147" }).execute();

  const result = await billing("reconcile");

  expect(result).toMatchObject({ status: 5, stdout: expect.stringContaining("147 set to 97: sink_took_more, drift 50 (warn)") });
  expect((await billing("status")).stdout).toMatch(/drift +1 balances had to be corrected.*org_a by 50 credits: sink_took_more/);
});

test("a double charge at the sink is named with its exact amount, and given back once when corrections are asked for", async () => {
  const sink = createAutumnSink({ secretKey: SECRET_KEY, serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits" });
  await insertSpendRows(database.db, [{ requestId: "msg_2", spendUsd: "0.1" }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  // Taken, but answered with an error, and the key was not kept: the repeat is taken, too.
  autumn.failNext({ kind: "status_after_apply", status: 500 });
  for (let count = 0; count < 2; count++) await settle(database.db, { sink, retryDelayMs: () => 0 });
  expect(autumn.deducted("org_a")).toBe("63");
  await database.db
    .updateTable("settlement_batches")
    .set({ first_sent_at: new Date(Date.now() - 3_600_000), delivered_at: new Date(Date.now() - 3_600_000) })
    .execute();
  await database.db
    .updateTable("settlement_attempts")
    .set({ started_at: new Date(Date.now() - 3_600_000), finished_at: new Date(Date.now() - 3_600_000) })
    .execute();

  expect(await billing("reconcile", "--dry-run")).toMatchObject({
    status: 5,
    stdout: expect.stringMatching(/double_charge +org_a.*30 too much.*proposed correction -30 credits/),
  });
  expect(await billing("reconcile")).toMatchObject({ status: 5 });
  expect((await billing("status")).stdout).toMatch(/sink_differs +The sink's record differs from our books: 1 double_charge/);
  expect(autumn.deducted("org_a")).toBe("63");

  expect((await billing("reconcile", "--apply-corrections")).stdout).toContain("correction of -30 credits applied");
  await billing("reconcile", "--apply-corrections");
  expect(autumn.deducted("org_a")).toBe("33");
  expect((await billing("status")).stdout).not.toContain("sink_differs");
});

test("an unknown org is exit 3, a missing key exit 2, a sink that does not answer exit 1", async () => {
  expect(await billing("reconcile", "--org", "org_none")).toMatchObject({ status: 3, stderr: expect.stringContaining('"org_none"') });
  expect(await runCli(["reconcile"], { DATABASE_URL: database.connectionString })).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("AUTUMN_API_KEY is not set"),
  });
  expect(
    await runCli(["reconcile"], {
      DATABASE_URL: database.connectionString,
      AUTUMN_API_KEY: SECRET_KEY,
      AUTUMN_API_URL: "http://127.0.0.1:9",
    }),
  ).toMatchObject({ status: 1, stdout: expect.stringContaining("org_a: not read") });
  expect((await billing("reconcile", "--dry-run", "--apply-corrections")).status).toBe(2);
});

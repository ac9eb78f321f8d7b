import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { createAutumnSink } from "@proliferate/services/billing/autumn";
import { settle } from "@proliferate/services/billing/settlement";
import { syncSpend } from "@proliferate/services/billing/spend-sync";
import { insertSpendRows } from "@proliferate/services/billing/test-ledger";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type CliResult, runCli } from "./cli-process.ts";

const SECRET_KEY = "am_sk_test_reconcile";
let database: TestDatabase;
let autumn: AutumnEmulator;
beforeEach(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator({ secretKey: SECRET_KEY });
  autumn.grant("org_a", "100");
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.01" }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  await settle(database.db, { sink: createAutumnSink({ secretKey: SECRET_KEY, serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits" }) });
});
afterEach(async () => {
  await autumn.stop();
  await database.drop();
});

const billing = (...argv: readonly string[]): Promise<CliResult> => runCli(argv, { DATABASE_URL: database.connectionString, AUTUMN_API_KEY: SECRET_KEY, AUTUMN_API_URL: autumn.url });

test("a dry run tells what would be done and does nothing; the real one sets the balance, and repeating it changes nothing", async () => {
  const dry = await billing("reconcile", "--dry-run");
  expect(dry).toMatchObject({ status: 0, stderr: "" });
  expect(dry.stdout).toMatch(/nothing is changed.*org_a: sink 97 - unposted 0; unknown would be set to 97: first_sight/s);
  expect(await database.db.selectFrom("billing_accounts").select("balance_credits").execute()).toEqual([{ balance_credits: null }]);

  expect((await billing("reconcile")).stdout).toContain("unknown set to 97: first_sight");
  const again = await billing("reconcile", "--org", "org_a", "--json");
  expect(JSON.parse(again.stdout)).toMatchObject({ dry_run: false, deliveries: { findings: [] }, balances: [{ org_id: "org_a", cause: "agrees", after_credits: "97" }] });
});

test("a planted drift is named with its cause, and exits 5", async () => {
  await billing("reconcile");
  await database.db.updateTable("billing_accounts").set({ balance_credits: "147" }).execute();

  const result = await billing("reconcile");

  expect(result).toMatchObject({ status: 5, stdout: expect.stringContaining("147 set to 97: sink_took_more, drift 50 (warn)") });
  expect((await billing("status")).stdout).toMatch(/drift +1 balances had to be corrected.*org_a by 50 credits: sink_took_more/);
});

test("an unknown org is exit 3, a missing key exit 2, a sink that does not answer exit 1", async () => {
  expect(await billing("reconcile", "--org", "org_none")).toMatchObject({ status: 3, stderr: expect.stringContaining('"org_none"') });
  expect(await runCli(["reconcile"], { DATABASE_URL: database.connectionString })).toMatchObject({ status: 2, stderr: expect.stringContaining("AUTUMN_API_KEY is not set") });
  expect(await runCli(["reconcile"], { DATABASE_URL: database.connectionString, AUTUMN_API_KEY: SECRET_KEY, AUTUMN_API_URL: "http://127.0.0.1:9" })).toMatchObject({ status: 1, stdout: expect.stringContaining("org_a: not read") });
  expect((await billing("reconcile", "--dry-run", "--apply-corrections")).status).toBe(2);
});

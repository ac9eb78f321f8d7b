import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CliResult } from "./cli-process.ts";
import { runInProcess } from "./in-process-cli.ts";

const SECRET_KEY = "am_sk_test_doctor";
let database: TestDatabase;
let autumn: AutumnEmulator;
beforeAll(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator({
    secretKey: SECRET_KEY,
    features: ["credits", "tokens"],
    featureKinds: { credits: { type: "credit_system", creditCosts: { tokens: 2.5 } } },
  });
});
afterAll(async () => {
  await autumn.stop();
  await database.drop();
});

const doctor = (environment: Readonly<Record<string, string>> = {}, ...flags: readonly string[]): Promise<CliResult> =>
  runInProcess(["doctor", ...flags], {
    DATABASE_URL: database.connectionString,
    AUTUMN_API_KEY: SECRET_KEY,
    AUTUMN_API_URL: autumn.url,
    ...environment,
  });

test("a sound account is told line by line, with status 0", async () => {
  const { status, stdout } = await doctor();

  expect(status).toBe(0);
  expect(stdout).toMatch(/^ok +key: A test key.*\nok +account: .*\nok +feature: .*credits.*\nskipped +event_list: .*\nok +top_up: /);
});

test("autumn M5: a feature that a credit system prices is a failed check, with what to set and status 5; the key is never shown", async () => {
  const { status, stdout } = await doctor({ AUTUMN_FEATURE_ID: "tokens" }, "--json");

  expect(status).toBe(5);
  expect(JSON.parse(stdout)).toMatchObject({
    checks: expect.arrayContaining([{ name: "feature", outcome: "failed", message: expect.stringContaining("AUTUMN_FEATURE_ID=credits") }]),
  });
  expect(stdout).not.toContain(SECRET_KEY);
});

test("without Autumn there is nothing to examine, and it says which variable is missing", async () => {
  const { status, stderr } = await runInProcess(["doctor"], {
    DATABASE_URL: database.connectionString,
    SETTLEMENT_SINK: "jsonl",
    SETTLEMENT_FILE: "/tmp/none.jsonl",
  });

  expect(status).toBe(4);
  expect(stderr).toContain("AUTUMN_API_KEY is not set");
});

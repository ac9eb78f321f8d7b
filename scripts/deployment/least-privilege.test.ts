import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createTestDatabase, onServer, type TestDatabase } from "@proliferate/db/test-database";
import { openDatabase } from "@proliferate/db";
import { ensurePartitions } from "@proliferate/services/test/internals";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startTestDeployment, type TestDeployment } from "./test-deployment.ts";

/** The whole product as a role that owns nothing and has what `--grant` gives it. */

const PASSWORD = randomBytes(12).toString("hex");
const role = `app_${randomBytes(6).toString("hex")}`;
const stranger = `stranger_${randomBytes(6).toString("hex")}`;

let database: TestDatabase;
let deployment: TestDeployment | undefined;
beforeAll(async () => {
  database = await createTestDatabase();
  for (const name of [role, stranger]) await onServer(database.connectionString, `create role ${name} login password '${PASSWORD}'`);
});
afterEach(async () => {
  await deployment?.stop();
  deployment = undefined;
});
afterAll(async () => {
  for (const name of [role, stranger]) await onServer(database.connectionString, `drop owned by ${name}; drop role ${name}`);
  await database.drop();
});

function urlAs(name: string): string {
  const url = new URL(database.connectionString);
  url.username = name;
  url.password = PASSWORD;
  return url.toString();
}

async function run(
  file: string,
  environment: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<{ readonly status: number; readonly output: string }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`../../${file}`, import.meta.url)), ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...environment },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [status] = (await once(child, "close")) as [number];
  return { status, output };
}

test("users 03: proxy, gateway, worker and command line run with the grants alone", async () => {
  const granted = await run("scripts/migrate.ts", { DATABASE_URL: database.connectionString }, "--grant", role);
  expect(granted).toMatchObject({ status: 0, output: expect.stringContaining('"schemas":["bullmq","litellm","llm_gateway"]') });

  deployment = await startTestDeployment({ databaseEnvironment: { DATABASE_URL: urlAs(role) }, db: database.db });
  await deployment.followOneRequest("with_least_privilege");

  const status = await run("apps/cli/src/main.ts", { DATABASE_URL: urlAs(role), OPERATOR_NAME: "test" }, "billing", "status", "--json");
  expect(status).toMatchObject({ status: 0, output: expect.stringContaining('"problems"') });
  expect(await run("scripts/migrate.ts", { DATABASE_URL: urlAs(role) })).toMatchObject({ status: 0 });
  expect(await deployment.logs()).not.toMatch(/permission denied|must be owner|"level":(50|60)/);
});

test("users 03: the role makes the partitions of coming months, and reads what stands in them", async () => {
  const db = openDatabase({ connectionString: urlAs(role) });
  try {
    expect(await ensurePartitions(db, 6)).toBeGreaterThan(0);
    await expect(sql`select count(*) from billing_events_default`.execute(db)).resolves.toBeDefined();
  } finally {
    await db.destroy();
  }
});

test.each([
  ["create table llm_gateway.mine (a int)"],
  ["drop table llm_gateway.billing_events"],
  ["truncate llm_gateway.billing_events"],
  ["alter table llm_gateway.billing_events disable trigger all"],
  ["create schema mine"],
])("users 03: the role may not: %s", async (statement) => {
  await expect(onServer(urlAs(role), statement)).rejects.toThrow(/permission denied|must be owner/);
});

test("users 03: a role without grants is told so by each process, in our own words, before anything is served", async () => {
  await expect(startTestDeployment({ databaseEnvironment: { DATABASE_URL: urlAs(stranger) }, db: database.db })).rejects.toThrow(
    /permission denied for schema \w+ to the role stranger_.*--grant ROLE/s,
  );
  const worker = await run("apps/worker/src/main.ts", { DATABASE_URL: urlAs(stranger), AUTUMN_API_KEY: "am_sk_test_of_the_test" });

  expect(worker).toMatchObject({ status: 1, output: expect.stringMatching(/--grant ROLE/) });
  expect(worker.output).not.toMatch(/\bat .*\.(ts|js):\d+/);
  expect((await run("scripts/migrate.ts", { DATABASE_URL: urlAs(stranger) }, "--grant", role)).output).toMatch(/permission denied/);
});

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { onServer, withDatabaseName } from "@proliferate/db/test-database";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";

const name = `migrate_test_${randomBytes(6).toString("hex")}`;
const server = inject("postgresServer");
const connectionString = withDatabaseName(server, name);
beforeAll(() => onServer(server, `create database ${name}`));
afterAll(() => onServer(server, `drop database if exists ${name} with (force)`));

async function migrate(environment: Record<string, string>): Promise<{ readonly status: number | null; readonly output: string }> {
  const child = spawn(process.execPath, [new URL("migrate.ts", import.meta.url).pathname], {
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [status] = await once(child, "close");
  return { status: status as number | null, output };
}

async function schemas(): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const { rows } = await client.query<{ name: string }>(
    "select distinct table_schema as name from information_schema.tables where table_schema in ('llm_gateway', 'litellm')",
  );
  await client.end();
  return rows.map((row) => row.name).toSorted();
}

test("beside stock LiteLLM only our own tables are made, and a second run makes none", async () => {
  const first = await migrate({ DATABASE_URL: connectionString, MIGRATION_SETS: "gateway" });
  const second = await migrate({ POSTGRES_CONNECTION_STRING: connectionString, MIGRATION_SETS: "gateway" });

  expect([first.status, second.status]).toEqual([0, 0]);
  expect(await schemas()).toEqual(["llm_gateway"]);
  expect(first.output).toContain("gateway/0003_sessions.sql");
  expect(second.output).toContain('"applied":[]');
});

test("a set that does not exist is refused, and no password is printed", async () => {
  const wrongSet = await migrate({ DATABASE_URL: connectionString, MIGRATION_SETS: "gatway" });
  const unreachable = await migrate({ DATABASE_URL: "postgresql://app:hunter2@127.0.0.1:1/app" });

  expect([wrongSet.status, unreachable.status]).toEqual([1, 1]);
  expect(wrongSet.output).toContain("MIGRATION_SETS");
  expect(unreachable.output).not.toContain("hunter2");
});

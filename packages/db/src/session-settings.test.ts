import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkDatabase } from "./check-database.ts";
import { connectSession, openDatabase } from "./client.ts";
import { parseDatabaseSettings } from "./database-environment.ts";
import { plainSslMode } from "./ssl-mode.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const settingsOf = async (db: TestDatabase["db"]): Promise<unknown> =>
  (
    await sql`select current_setting('search_path') as search_path, current_setting('timezone') as timezone, current_setting('jit') as jit`.execute(
      db,
    )
  ).rows[0];

test("users 02: every connection of a pool has our settings, none of them a startup option that a pooler refuses", async () => {
  const db = openDatabase({ connectionString: database.connectionString, litellmSchema: "other_litellm" });
  const all = await Promise.all(Array.from({ length: 4 }, () => settingsOf(db)));
  await db.destroy();

  expect(all).toEqual(all.map(() => ({ search_path: "llm_gateway,other_litellm", timezone: "UTC", jit: "off" })));
});

test("code 9: a session asks after a silent peer within half a minute, and nothing in a pool runs, waits or rests without an end", async () => {
  const names = [
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
  ];
  const ask = `select ${names.map((name) => `current_setting('${name}') as ${name}`).join(", ")}`;
  const waiting = await connectSession({ connectionString: database.connectionString });
  const [pooled, waits] = [(await sql.raw(ask).execute(database.db)).rows[0], (await waiting.query(ask)).rows[0]];
  await waiting.end();

  const peer = {
    tcp_keepalives_idle: "15",
    tcp_keepalives_interval: "5",
    tcp_keepalives_count: "3",
    idle_in_transaction_session_timeout: "1min",
  };
  expect(pooled).toEqual({ ...peer, statement_timeout: "10min", lock_timeout: "30s" });
  expect(waits).toEqual({ ...peer, statement_timeout: "0", lock_timeout: "0" });
});

test("a schema name that would need quoting is refused before anything connects", () => {
  expect(() => openDatabase({ connectionString: database.connectionString, litellmSchema: "litellm; drop" })).toThrow(
    /not a plain PostgreSQL name/,
  );
});

test("a database that keeps its sessions passes the check of the start; one that is not there is unreachable", async () => {
  await expect(checkDatabase({ connectionString: database.connectionString })).resolves.toBeUndefined();
  await expect(checkDatabase({ connectionString: "postgresql://a:b@127.0.0.1:1/x" })).rejects.toMatchObject({
    code: "database_unreachable",
  });
});

test("a transaction pooler needs the direct address, which is otherwise the same", () => {
  const DATABASE_URL = "postgresql://h/d";

  expect(() => parseDatabaseSettings({ DATABASE_URL, DATABASE_POOLING: "transaction" })).toThrow(/DATABASE_DIRECT_URL is not set/);
  expect(parseDatabaseSettings({ DATABASE_URL }).direct.connectionString).toBe(DATABASE_URL);
  expect(() => parseDatabaseSettings({})).toThrow(/DATABASE_URL is not set/);
});

test.each([
  ["postgresql://h/d?sslmode=require", "postgresql://h/d?sslmode=verify-full"],
  ["postgresql://h/d?a=b&sslmode=prefer&c=d", "postgresql://h/d?a=b&sslmode=verify-full&c=d"],
  ["postgresql://h/d?sslmode=verify-ca", "postgresql://h/d?sslmode=verify-full"],
  ["postgresql://h/d?sslmode=no-verify", "postgresql://h/d?sslmode=no-verify"],
  ["postgresql://h/d?sslmode=disable", "postgresql://h/d?sslmode=disable"],
  ["postgresql://h/d?sslmode=require&uselibpqcompat=true", "postgresql://h/d?sslmode=require&uselibpqcompat=true"],
  ["postgresql://h/d", "postgresql://h/d"],
])("users 15: %s is %s, as the driver means it", (given, plain) => {
  expect(plainSslMode(given)).toBe(plain);
});

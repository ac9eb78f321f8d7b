import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkDatabase } from "./check-database.ts";
import { openDatabase } from "./client.ts";
import { parseDatabaseSettings } from "./database-environment.ts";
import { plainSslMode } from "./ssl-mode.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const settingsOf = async (db: TestDatabase["db"]): Promise<unknown> =>
  (await sql`select current_setting('search_path') as search_path, current_setting('timezone') as timezone, current_setting('jit') as jit`.execute(db)).rows[0];

test("users 02: every connection of a pool has our settings, none of them a startup option that a pooler refuses", async () => {
  const db = openDatabase({ connectionString: database.connectionString, litellmSchema: "other_litellm" });
  const all = await Promise.all(Array.from({ length: 4 }, () => settingsOf(db)));
  await db.destroy();

  expect(all).toEqual(all.map(() => ({ search_path: "llm_gateway,other_litellm", timezone: "UTC", jit: "off" })));
});

test("a schema name that would need quoting is refused before anything connects", () => {
  expect(() => openDatabase({ connectionString: database.connectionString, litellmSchema: "litellm; drop" })).toThrow(/not a plain PostgreSQL name/);
});

test("a database that keeps its sessions passes the check of the start; one that is not there is unreachable", async () => {
  await expect(checkDatabase({ connectionString: database.connectionString })).resolves.toBeUndefined();
  await expect(checkDatabase({ connectionString: "postgresql://a:b@127.0.0.1:1/x" })).rejects.toMatchObject({ code: "database_unreachable" });
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

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { inject } from "vitest";
import { type DatabaseClient, openDatabase } from "./client.ts";
import { migrate } from "./migrate.ts";
import { DEFAULT_LITELLM_SCHEMA } from "./schema-names.ts";

/** For tests only: a migrated database of one's own on the real PostgreSQL that `vitest.global-setup.ts` started. */
export interface TestDatabase {
  readonly connectionString: string;
  readonly db: DatabaseClient;
  drop(): Promise<void>;
}

declare module "vitest" {
  interface ProvidedContext {
    postgresServer: string;
    postgresTemplate: string;
  }
}

export async function onServer(connectionString: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** The same server, another database. */
export function withDatabaseName(connectionString: string, name: string): string {
  const url = new URL(connectionString);
  url.pathname = `/${name}`;
  return url.toString();
}

/** Makes the template that every test database is a copy of (50 ms each instead of a migration). */
export async function createTemplate(server: string): Promise<string> {
  const name = `gateway_template_${randomBytes(6).toString("hex")}`;
  await onServer(server, `create database ${name}`);
  await migrate({ connectionString: withDatabaseName(server, name) });
  return name;
}

const LITELLM_TABLES = new URL("../fixtures/litellm-1.104-tables.sql", import.meta.url);

/** A database as our engine meets it where stock LiteLLM migrated its own tables: its column definitions, and our migrations but not our copy of them. */
export async function createLiteLLMTestDatabase(): Promise<TestDatabase> {
  const server = inject("postgresServer");
  const name = `gateway_test_${randomBytes(6).toString("hex")}`;
  await onServer(server, `create database ${name}`);
  const connectionString = withDatabaseName(server, name);
  await onServer(
    connectionString,
    `create schema ${DEFAULT_LITELLM_SCHEMA}; set search_path = ${DEFAULT_LITELLM_SCHEMA}; ${await readFile(LITELLM_TABLES, "utf8")}`,
  );
  await migrate({ connectionString, sets: ["gateway"] });
  return testDatabase(server, name, connectionString);
}

/** Call in `beforeAll` or `beforeEach`; give it back with `drop()`, which also ends connections that were left open. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = inject("postgresServer");
  const name = `gateway_test_${randomBytes(6).toString("hex")}`;
  await onServer(server, `create database ${name} template ${inject("postgresTemplate")}`);
  return testDatabase(server, name, withDatabaseName(server, name));
}

function testDatabase(server: string, name: string, connectionString: string): TestDatabase {
  const db = openDatabase({ connectionString, applicationName: "test" });
  return {
    connectionString,
    db,
    drop: async () => {
      await db.destroy();
      await onServer(server, `drop database if exists ${name} with (force)`);
    },
  };
}

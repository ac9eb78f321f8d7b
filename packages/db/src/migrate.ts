import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { AppError } from "@proliferate/shared/errors";
import type pg from "pg";
import { connectSession, type DatabaseOptions } from "./client.ts";
import { checkSchemaName, DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";

/** `gateway` is always ours; `litellm` only where our engine takes stock LiteLLM's place. */
export type MigrationSet = "gateway" | "litellm";

export interface MigrateOptions extends DatabaseOptions {
  /** Default: both. Leave `litellm` out where stock LiteLLM migrates its own schema. */
  readonly sets?: readonly MigrationSet[];
  readonly onApplied?: (migration: string) => void;
}

const MIGRATIONS_FOLDER = new URL("../migrations/", import.meta.url);
/** Any constant will do; it only has to be ours. */
const MIGRATION_LOCK = 7_031_001;

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Applies every migration that is not applied yet, in the order of their numbers, each in its own transaction.
 * Idempotent, and safe to run from several processes at once: they wait for each other. Throws `migration_failed` when
 * an applied file was edited since, or when a statement fails (that file is then not applied at all), and
 * `database_unreachable` when PostgreSQL cannot be reached.
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  const litellmSchema = checkSchemaName(options.litellmSchema ?? DEFAULT_LITELLM_SCHEMA);
  const schemas: Record<MigrationSet, string> = { gateway: GATEWAY_SCHEMA, litellm: litellmSchema };
  const client = await connectSession(options).catch((error: unknown) => {
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${(error as Error).message}`, { cause: error });
  });
  try {
    await client.query("select pg_advisory_lock($1)", [MIGRATION_LOCK]);
    await client.query(`create schema if not exists ${GATEWAY_SCHEMA}`);
    await client.query(
      `create table if not exists ${GATEWAY_SCHEMA}.schema_migrations
         (migration text primary key, checksum text not null, applied_at timestamptz not null default now())`,
    );
    const applied: string[] = [];
    for (const set of options.sets ?? (["litellm", "gateway"] as const)) {
      await client.query(`create schema if not exists ${schemas[set]}`);
      applied.push(...(await applySet(client, set, schemas[set], options)));
    }
    return applied;
  } finally {
    await client.end();
  }
}

async function readMigrations(set: MigrationSet): Promise<readonly Migration[]> {
  const folder = new URL(`${set}/`, MIGRATIONS_FOLDER);
  const names = (await readdir(folder)).filter((name) => /^\d{4}_[a-z0-9_]+\.sql$/.test(name)).toSorted();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, folder), "utf8");
      return { name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    }),
  );
}

async function applySet(client: pg.Client, set: MigrationSet, schema: string, options: MigrateOptions): Promise<readonly string[]> {
  const applied: string[] = [];
  for (const migration of await readMigrations(set)) {
    // LiteLLM's tables may stand in several schemas: the source's own, and our mirror of a source that is read over REST.
    const id = schema === GATEWAY_SCHEMA || schema === DEFAULT_LITELLM_SCHEMA ? `${set}/${migration.name}` : `${set}@${schema}/${migration.name}`;
    if (!(await applyMigration(client, id, migration, schema))) continue;
    applied.push(id);
    options.onApplied?.(id);
  }
  return applied;
}

/** Returns false when it was applied before. */
async function applyMigration(client: pg.Client, id: string, migration: Migration, schema: string): Promise<boolean> {
  const known = await client.query<{ checksum: string }>(
    `select checksum from ${GATEWAY_SCHEMA}.schema_migrations where migration = $1`,
    [id],
  );
  if (known.rows[0]) {
    if (known.rows[0].checksum === migration.checksum) return false;
    throw new AppError("migration_failed", `Migration ${id} was edited after it was applied; add a new file instead.`);
  }
  try {
    await client.query("begin");
    await client.query(`set local search_path = ${schema}`);
    await client.query(migration.sql);
    await client.query(`insert into ${GATEWAY_SCHEMA}.schema_migrations (migration, checksum) values ($1, $2)`, [id, migration.checksum]);
    await client.query("commit");
    return true;
  } catch (error) {
    await client.query("rollback");
    throw new AppError("migration_failed", `Migration ${id} failed: ${(error as Error).message}`, { cause: error });
  }
}

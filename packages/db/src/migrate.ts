import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "@proliferate/shared/errors";
import type pg from "pg";
import { connectSession, type DatabaseOptions } from "./client.ts";
import { checkSchemaName, DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";

/** `gateway` is always ours; `litellm` only where our engine takes stock LiteLLM's place. */
type MigrationSet = "gateway" | "litellm";

/** Which database is migrated, by which sets of files. */
interface MigrateOptions extends DatabaseOptions {
  /** Default: both. Leave `litellm` out where stock LiteLLM migrates its own schema. */
  readonly sets?: readonly MigrationSet[];
  readonly onApplied?: (migration: string) => void;
}

const MIGRATIONS_FOLDER = new URL("../migrations/", import.meta.url);
/** Any constant will do; it only has to be ours. */
const MIGRATION_LOCK = 7_031_001;
const LOCK_POLL_MS = 100;
/** A migration that waits for a table holds up everybody who comes after it: rather it fails, and is started again. */
const LOCK_TIMEOUT_MS = 5_000;
/**
 * First line of a file whose statements run one by one, each by itself, as `create index concurrently` must. Each ends its line
 * with a semicolon. Such a file may have been applied in part before, so each statement has to bear repetition.
 */
const ONE_BY_ONE = "-- one statement at a time, outside of a transaction";

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Applies every migration that is not applied yet, in the order of their numbers, each in its own transaction, but for those that
 * say on their first line that their statements run one at a time. No statement waits more than 5 s for a table. Idempotent, and safe to run from several processes at once: they wait for each other. Throws `migration_failed` when
 * an applied file was edited since, or when a statement fails (that file is then not applied at all, or to be applied again from its first statement), and
 * `database_unreachable` when PostgreSQL cannot be reached.
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  const litellmSchema = checkSchemaName(options.litellmSchema ?? DEFAULT_LITELLM_SCHEMA);
  const schemas: Record<MigrationSet, string> = { gateway: GATEWAY_SCHEMA, litellm: litellmSchema };
  const client = await connectSession(options).catch((error: unknown) => {
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${(error as Error).message}.`, { cause: error });
  });
  try {
    await lockMigrations(client);
    await client.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await makeLedger(client);
    const applied: string[] = [];
    for (const set of options.sets ?? (["litellm", "gateway"] as const)) {
      await makeSchema(client, schemas[set]);
      applied.push(...(await applySet(client, set, schemas[set], options)));
    }
    return applied;
  } finally {
    await client.end();
  }
}

/** Only where it is not there: `if not exists` asks for the right to create, and whoever has nothing to apply needs none. */
async function makeSchema(client: pg.Client, schema: string): Promise<void> {
  const { rows } = await client.query("select from pg_namespace where nspname = $1", [schema]);
  if (rows.length === 0) await client.query(`create schema if not exists ${schema}`);
}

async function makeLedger(client: pg.Client): Promise<void> {
  await makeSchema(client, GATEWAY_SCHEMA);
  const { rows } = await client.query<{ ledger: string | null }>("select to_regclass($1) as ledger", [
    `${GATEWAY_SCHEMA}.schema_migrations`,
  ]);
  if (rows[0]?.ledger) return;
  await client.query(
    `create table if not exists ${GATEWAY_SCHEMA}.schema_migrations
       (migration text primary key, checksum text not null, applied_at timestamptz not null default now())`,
  );
}

/** Asks again and again: who waits in a statement holds a snapshot, and `create index concurrently` would wait for that. */
async function lockMigrations(client: pg.Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ locked: boolean }>("select pg_try_advisory_lock($1) as locked", [MIGRATION_LOCK]);
    if (rows[0]?.locked) return;
    await delay(LOCK_POLL_MS);
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
    const id =
      schema === GATEWAY_SCHEMA || schema === DEFAULT_LITELLM_SCHEMA ? `${set}/${migration.name}` : `${set}@${schema}/${migration.name}`;
    if (!(await applyMigration(client, id, migration, schema))) continue;
    applied.push(id);
    options.onApplied?.(id);
  }
  return applied;
}

/** Returns false when it was applied before. */
async function applyMigration(client: pg.Client, id: string, migration: Migration, schema: string): Promise<boolean> {
  const known = await client.query<{ checksum: string }>(`select checksum from ${GATEWAY_SCHEMA}.schema_migrations where migration = $1`, [
    id,
  ]);
  if (known.rows[0]) {
    if (known.rows[0].checksum === migration.checksum) return false;
    throw new AppError("migration_failed", `Migration ${id} was edited after it was applied; add a new file instead.`);
  }
  const note = async (): Promise<void> => {
    await client.query(`insert into ${GATEWAY_SCHEMA}.schema_migrations (migration, checksum) values ($1, $2)`, [id, migration.checksum]);
  };
  try {
    await (migration.sql.startsWith(ONE_BY_ONE) ? applyOneByOne : applyAtOnce)(client, migration.sql, schema, note);
    return true;
  } catch (error) {
    throw new AppError("migration_failed", `Migration ${id} failed: ${(error as Error).message}`, { cause: error });
  }
}

async function applyAtOnce(client: pg.Client, text: string, schema: string, note: () => Promise<void>): Promise<void> {
  try {
    await client.query("begin");
    await client.query(`set local search_path = ${schema}`);
    await client.query(text);
    await note();
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
}

async function applyOneByOne(client: pg.Client, text: string, schema: string, note: () => Promise<void>): Promise<void> {
  const { rows } = await client.query<{ path: string }>("select current_setting('search_path') as path");
  await client.query("select set_config('search_path', $1, false)", [schema]);
  try {
    for (const statement of text.split(/;[ \t]*(?:\n|$)/).filter((part) => /^\s*[a-z]/im.test(part.replaceAll(/--.*$/gm, ""))))
      await client.query(statement);
  } finally {
    await client.query("select set_config('search_path', $1, false)", [rows[0]?.path]);
  }
  await note();
}

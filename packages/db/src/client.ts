import { AppError } from "@proliferate/shared/errors";
import { Kysely, PostgresDialect, sql, type Transaction } from "kysely";
import pg from "pg";
import { knowPreparedStatements } from "./prepared-statements.ts";
import { isDatabaseUnavailable } from "./database-error.ts";
import type { Database } from "./schema.ts";

/** A connection pool; every statement of the product runs on one, or on a transaction of one. */
export type DatabaseClient = Kysely<Database>;

/** A pool or a transaction: what a `db.ts` statement takes, so that its caller decides what is atomic. */
export type DatabaseExecutor = Kysely<Database> | Transaction<Database>;

/** Our own tables. A name of its own, because the database is often shared with the company's app. */
export const GATEWAY_SCHEMA = "llm_gateway";

/** LiteLLM's tables live apart: LiteLLM migrates what it owns and must never touch ours. */
export const DEFAULT_LITELLM_SCHEMA = "litellm";

export interface DatabaseOptions {
  readonly connectionString: string;
  /** Where the LiteLLM_* tables are. Default `litellm`. */
  readonly litellmSchema?: string;
  /** Connections at most. Default 10. */
  readonly maxConnections?: number;
  /** Shown in pg_stat_activity. */
  readonly applicationName?: string;
  /** Called when an idle connection breaks (PostgreSQL restarted, say); the pool replaces it by itself. */
  readonly onIdleError?: (error: Error) => void;
}

const POSTGRES_TYPE = { float8: 701, timestamp: 1114 } as const;

/**
 * LiteLLM's TIMESTAMP columns hold UTC without saying so; node-postgres would read them as local time. DOUBLE stays
 * text, PostgreSQL's shortest exact spelling, because a spend must not pass through a JavaScript number.
 */
function typeParser(oid: number, format?: "text" | "binary"): (text: string) => unknown {
  if (format !== "binary" && oid === POSTGRES_TYPE.timestamp) return (text) => new Date(`${text.replace(" ", "T")}Z`);
  if (format !== "binary" && oid === POSTGRES_TYPE.float8) return (text) => text;
  return pg.types.getTypeParser(oid, format as "text") as (text: string) => unknown;
}

/** Refuses a schema name that would need quoting: it is pasted into `search_path`. */
export function checkSchemaName(name: string): string {
  if (/^[a-z_][a-z0-9_]{0,62}$/.test(name)) return name;
  throw new AppError("env_invalid", `LITELLM_DB_SCHEMA "${name}" is not a plain PostgreSQL name (a-z, 0-9, _).`);
}

/** The settings of a raw `pg` connection to our database: search path, UTC, type parsers; nothing compiled, our statements are short. */
export function connectionConfig(options: DatabaseOptions): pg.PoolConfig {
  const litellmSchema = checkSchemaName(options.litellmSchema ?? DEFAULT_LITELLM_SCHEMA);
  return {
    connectionString: options.connectionString,
    max: options.maxConnections ?? 10,
    application_name: options.applicationName ?? "llm-gateway",
    options: `-c search_path=${GATEWAY_SCHEMA},${litellmSchema} -c timezone=UTC -c jit=off`,
    connectionTimeoutMillis: 10_000,
    types: { getTypeParser: typeParser as never },
  };
}

/** Opens a pool. Nothing connects until the first statement. The caller ends it with `destroy()`. */
export function openDatabase(options: DatabaseOptions): DatabaseClient {
  const pool = new pg.Pool(connectionConfig(options));
  // Without a listener, the error of an idle connection ends the process.
  pool.on("error", (error) => options.onIdleError?.(error));
  // The pool takes its listener off a connection while it is in use; the statement in flight gets the error anyway.
  pool.on("connect", (client) => client.on("error", () => undefined));
  pool.on("connect", knowPreparedStatements);
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/** True when a statement gets through now, false when PostgreSQL is unavailable. Throws on any other error. */
export async function isDatabaseReachable(db: DatabaseExecutor): Promise<boolean> {
  try {
    await sql`select 1`.execute(db);
    return true;
  } catch (error) {
    if (isDatabaseUnavailable(error)) return false;
    throw error;
  }
}

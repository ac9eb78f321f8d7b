import { Kysely, PostgresDialect, sql, type Transaction } from "kysely";
import pg from "pg";
import { knowPreparedStatements } from "./prepared-statements.ts";
import { isDatabaseUnavailable } from "./database-error.ts";
import type { Database } from "./schema.ts";
import { checkSchemaName } from "./schema-names.ts";
import { applySettings, KEEP_ALIVE, type Pooling, sessionSettings } from "./session-settings.ts";
import { plainSslMode } from "./ssl-mode.ts";

/** A connection pool; every statement of the product runs on one, or on a transaction of one. */
export type DatabaseClient = Kysely<Database>;

/** A pool or a transaction: what a `db.ts` statement takes, so that its caller decides what is atomic. */
export type DatabaseExecutor = Kysely<Database> | Transaction<Database>;

/** Where the database is and how this process uses it; the database must keep a session's state unless `pooling` says otherwise. */
export interface DatabaseOptions {
  readonly connectionString: string;
  /** Where the LiteLLM_* tables are. Default `litellm`. */
  readonly litellmSchema?: string;
  /** What is between us and the server. Default `session`. */
  readonly pooling?: Pooling;
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

/** How a raw `pg` connection to our database is made: address, type parsers. Its settings come by `applySettings`. */
export function connectionConfig(options: DatabaseOptions): pg.PoolConfig {
  if (options.litellmSchema !== undefined) checkSchemaName(options.litellmSchema);
  return {
    connectionString: plainSslMode(options.connectionString),
    max: options.maxConnections ?? 10,
    application_name: options.applicationName ?? "llm-gateway",
    connectionTimeoutMillis: 10_000,
    ...KEEP_ALIVE,
    types: { getTypeParser: typeParser as never },
  };
}

/** Opens a pool. Nothing connects until the first statement. The caller ends it with `destroy()`. */
export function openDatabase(options: DatabaseOptions): DatabaseClient {
  const keepsSession = options.pooling !== "transaction";
  const pool = new pg.Pool({
    ...connectionConfig(options),
    ...(keepsSession && { onConnect: async (client: pg.ClientBase) => applySettings(client, sessionSettings(options.litellmSchema)) }),
  });
  // Without a listener, the error of an idle connection ends the process.
  pool.on("error", (error) => options.onIdleError?.(error));
  // The pool takes its listener off a connection while it is in use; the statement in flight gets the error anyway.
  pool.on("connect", (client) => client.on("error", () => undefined));
  if (keepsSession) pool.on("connect", knowPreparedStatements);
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/**
 * A connection that stays one session, with our settings but without time-outs; the caller ends it. For what lives as long as
 * its session: locks, migrations, notices. Its address must not be a pooler in transaction mode. Throws as `pg` does; then nothing is left open.
 */
export async function connectSession(options: DatabaseOptions): Promise<pg.Client> {
  const { max: _poolOnly, ...config } = connectionConfig(options);
  const client = new pg.Client(config);
  // The failure is thrown below, or met by the statement in flight; a client without a listener would end the process.
  client.on("error", () => undefined);
  try {
    await client.connect();
    await applySettings(client, sessionSettings(options.litellmSchema, { waits: true }));
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

/** True when the server takes writes now, false on a replica or where transactions are read-only. Throws when it cannot be asked. */
export async function takesWrites(db: DatabaseExecutor): Promise<boolean> {
  const { rows } = await sql<{ writable: boolean }>`
    select not (pg_is_in_recovery() or current_setting('transaction_read_only')::boolean) as writable`.execute(db);
  return rows[0]?.writable ?? false;
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

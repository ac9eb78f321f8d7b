import { AppError } from "@proliferate/shared/errors";
import pg from "pg";
import { connectionConfig, connectSession, type DatabaseOptions } from "./client.ts";
import { DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";
import { sessionSettings } from "./session-settings.ts";

/** A setting that nobody reads; poolers pass it on. */
const PROBE = "llm_gateway.pooling_probe";

/**
 * The first thing that a process does with its database: says at the start what would otherwise go wrong later, silently.
 * Throws `database_unreachable`; `database_pooling` when a pooler shares sessions and was not named as such, or was named and
 * the role lacks the settings that each session must have; `database_forbidden` when the role may not use our tables.
 */
export async function checkDatabase(options: DatabaseOptions): Promise<void> {
  try {
    await (options.pooling === "transaction" ? checkRoleSettings(options) : checkSessionIsKept(options));
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${(error as Error).message}.`, { cause: error });
  }
}

async function checkRoleSettings(options: DatabaseOptions): Promise<void> {
  const { max: _poolOnly, ...config } = connectionConfig(options);
  const client = new pg.Client(config);
  client.on("error", () => undefined);
  try {
    await client.connect();
    await checkRights(client, options.litellmSchema);
    for (const [name, wanted] of Object.entries(sessionSettings(options.litellmSchema))) {
      // Not what is set now: another process may have left that behind in a session that is passed on.
      const { rows } = await client.query<{ value: string }>("select reset_val as value from pg_settings where lower(name) = $1", [name]);
      const value = rows[0]?.value ?? "";
      if (plain(value) === plain(wanted)) continue;
      throw new AppError(
        "database_pooling",
        `DATABASE_POOLING is transaction, and the database's role has ${name} = ${value} instead of ${wanted}.`,
      );
    }
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Of schemas that are not there yet nothing is said here. */
async function checkRights(client: pg.Client, litellmSchema: string = DEFAULT_LITELLM_SCHEMA): Promise<void> {
  const { rows } = await client.query<{ role: string; what: string }>(
    `select current_user as role, 'schema ' || nspname as what from pg_namespace
     where nspname in ($1, $2) and not has_schema_privilege(oid, 'usage')
     union all
     select current_user, 'table ' || relname from pg_class
     where relnamespace = to_regnamespace($1) and relkind in ('r', 'p') and has_schema_privilege(relnamespace, 'usage')
       and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert') and has_table_privilege(oid, 'update') and has_table_privilege(oid, 'delete'))
     limit 1`,
    [GATEWAY_SCHEMA, litellmSchema],
  );
  const [lack] = rows;
  if (lack) throw new AppError("database_forbidden", `permission denied for ${lack.what} to the role ${lack.role}.`);
}

const plain = (value: string): string => value.replaceAll(/["\s]/g, "").toLowerCase();

/**
 * Sets something on one connection, keeps that connection's session busy by another one, and looks whether it is still there.
 * A pooler in transaction mode has given the session away by then.
 */
async function checkSessionIsKept(options: DatabaseOptions): Promise<void> {
  const first = await connectSession(options);
  const second = await connectSession(options).catch(async (error: unknown) => {
    await first.end();
    throw error;
  });
  try {
    await checkRights(first, options.litellmSchema);
    await first.query("select set_config($1, 'kept', false)", [PROBE]);
    await second.query("begin");
    const { rows } = await first.query<{ value: string | null }>("select current_setting($1, true) as value", [PROBE]);
    const { rows: seenBySecond } = await second.query<{ value: string | null }>("select current_setting($1, true) as value", [PROBE]);
    await second.query("rollback");
    if (rows[0]?.value === "kept" && seenBySecond[0]?.value !== "kept") return;
    throw new AppError(
      "database_pooling",
      "The database is behind a pooler that gives a connection another session for each transaction, and DATABASE_POOLING does not say so.",
    );
  } finally {
    await Promise.all([first.end(), second.end()]);
  }
}

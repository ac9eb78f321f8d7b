import { readFile } from "node:fs/promises";
import { AppError } from "@proliferate/shared/errors";
import type pg from "pg";
import { connectSession, type DatabaseOptions } from "./client.ts";
import { DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";
import { sessionSettings } from "./session-settings.ts";

/** Which role gets the rights, and in which schemas. */
interface GrantOptions extends DatabaseOptions {
  readonly role: string;
  /** Schemas of ours beside the gateway's and LiteLLM's; one that is not there is left out. */
  readonly otherSchemas?: readonly string[];
  /** Gives the role the settings of a session in this database, too, which a pooler in transaction mode needs. */
  readonly withSettings?: boolean;
}

const GRANTS = new URL("../grants.sql", import.meta.url);

/**
 * Lets a role that exists run the product: what `grants.sql` says, in each of our schemas that is there. Idempotent; all of it
 * or nothing. Returns the schemas. Throws `database_forbidden` where the connection's own role may not grant, and
 * `database_unreachable`.
 */
export async function grantRole(options: GrantOptions): Promise<readonly string[]> {
  const client = await connectSession(options).catch((error: unknown) => {
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${(error as Error).message}`, { cause: error });
  });
  try {
    const wanted = [GATEWAY_SCHEMA, options.litellmSchema ?? DEFAULT_LITELLM_SCHEMA, ...(options.otherSchemas ?? [])];
    const { rows } = await client.query<{ name: string }>(
      "select nspname as name from pg_namespace where nspname = any($1) order by nspname",
      [wanted],
    );
    const schemas = rows.map(({ name }) => name);
    await client.query("begin");
    for (const schema of schemas) await client.query(await grantsOf(client, schema, options.role));
    if (options.withSettings) await client.query(await settingsOf(client, options));
    await client.query("commit");
    return schemas;
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError("database_forbidden", `The rights of ${options.role} could not be set: ${(error as Error).message}.`, {
      cause: error,
    });
  } finally {
    await client.end();
  }
}

async function grantsOf(client: pg.Client, schema: string, role: string): Promise<string> {
  const text = await readFile(GRANTS, "utf8");
  return text.replaceAll(':"schema"', () => client.escapeIdentifier(schema)).replaceAll(':"role"', () => client.escapeIdentifier(role));
}

async function settingsOf(client: pg.Client, { role, litellmSchema }: GrantOptions): Promise<string> {
  const { rows } = await client.query<{ name: string }>("select current_database() as name");
  const target = `${client.escapeIdentifier(role)} in database ${client.escapeIdentifier(rows[0]?.name ?? "")}`;
  const entries = Object.entries(sessionSettings(litellmSchema));
  // A search path is a list of names, each by itself; anything else is one value.
  const valueOf = (name: string, value: string): string =>
    name === "search_path"
      ? value
          .split(",")
          .map((schema) => client.escapeIdentifier(schema))
          .join(", ")
      : client.escapeLiteral(value);
  return entries.map(([name, value]) => `alter role ${target} set ${name} = ${valueOf(name, value)}`).join(";\n");
}

import type pg from "pg";
import { checkSchemaName, DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";

/**
 * How long a connection stays one and the same session of PostgreSQL. `session`: as long as it is open, directly or through a
 * pooler in session mode. `transaction`: a pooler may give every transaction another session, so nothing that is set or
 * prepared outlives one; the settings are then the role's own (`node scripts/migrate.ts --grant ROLE`).
 */
export type Pooling = "session" | "transaction";

/**
 * What every session of ours has, whatever the server's defaults are: LiteLLM's instants are UTC without saying so, and
 * nothing is compiled, because our statements are short.
 */
export function sessionSettings(litellmSchema: string = DEFAULT_LITELLM_SCHEMA): Readonly<Record<string, string>> {
  return { search_path: `${GATEWAY_SCHEMA},${checkSchemaName(litellmSchema)}`, timezone: "UTC", jit: "off" };
}

/**
 * Gives a new connection its settings, in one statement. Not at the connection's start: poolers refuse startup options that
 * they do not know. Rejects when the connection is of no use; its owner ends it then.
 */
export async function applySettings(client: pg.ClientBase, settings: Readonly<Record<string, string>>): Promise<void> {
  const entries = Object.entries(settings);
  await client.query(`select ${entries.map((_, index) => `set_config($${2 * index + 1}, $${2 * index + 2}, false)`).join(", ")}`, entries.flat());
}

import type pg from "pg";
import { checkSchemaName, DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";

/**
 * How long a connection stays one and the same session of PostgreSQL. `session`: as long as it is open, directly or through a
 * pooler in session mode. `transaction`: a pooler may give every transaction another session, so nothing that is set or
 * prepared outlives one; the settings are then the role's own (`node scripts/migrate.ts --grant ROLE`).
 */
export type Pooling = "session" | "transaction";

/**
 * How the server finds out that our host is gone without a word (power, network): it asks after 15 s of silence, every 5 s,
 * three times, and waits no longer for what it sent. Then what the session held is free: locks, attempts, a claim.
 */
export const DEAD_PEER_SETTINGS = {
  tcp_keepalives_idle: "15",
  tcp_keepalives_interval: "5",
  tcp_keepalives_count: "3",
  tcp_user_timeout: "30000",
} as const;

/** How our host finds out that the server is gone: it asks after as long a silence; the system repeats it each second, ten times. */
export const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelayMillis: 15_000 } as const;

/**
 * In milliseconds, of a pool's sessions: nothing runs, waits for a lock, or rests in an open transaction without an end.
 * What reads most at once (the whole ledger against the whole source) is done in minutes.
 */
const POOL_TIMEOUTS = { statement_timeout: "600000", lock_timeout: "30000", idle_in_transaction_session_timeout: "60000" } as const;

/** Of a session that waits on purpose: for a lock that another process holds, for a notice. */
const NO_TIMEOUTS = { statement_timeout: "0", lock_timeout: "0", idle_in_transaction_session_timeout: "60000" } as const;

/**
 * What every session of ours has, whatever the server's defaults are: LiteLLM's instants are UTC without saying so,
 * nothing is compiled, because our statements are short, and neither side waits for a dead one. `waits`: its statements may
 * wait without an end.
 */
export function sessionSettings(
  litellmSchema: string = DEFAULT_LITELLM_SCHEMA,
  options: { readonly waits?: boolean } = {},
): Readonly<Record<string, string>> {
  return {
    search_path: `${GATEWAY_SCHEMA},${checkSchemaName(litellmSchema)}`,
    timezone: "UTC",
    jit: "off",
    ...DEAD_PEER_SETTINGS,
    ...(options.waits ? NO_TIMEOUTS : POOL_TIMEOUTS),
  };
}

/**
 * Gives a new connection its settings, in one statement. Not at the connection's start: poolers refuse startup options that
 * they do not know. Rejects when the connection is of no use; its owner ends it then.
 */
export async function applySettings(client: pg.ClientBase, settings: Readonly<Record<string, string>>): Promise<void> {
  const entries = Object.entries(settings);
  await client.query(
    `select ${entries.map((_, index) => `set_config($${2 * index + 1}, $${2 * index + 2}, false)`).join(", ")}`,
    entries.flat(),
  );
}

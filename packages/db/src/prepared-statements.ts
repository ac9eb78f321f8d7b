import { type RawBuilder, sql } from "kysely";
import type pg from "pg";

const MARK = /^\s*\/\* prepared: ([a-z_]{1,60}) \*\//;

/**
 * Begins a statement that runs for every request: each connection parses it once, and plans it anew only where that pays.
 * The name is for this one text: another text under it is refused. Only for statements that name all their columns, because
 * they outlive a migration.
 */
export function prepared(name: string): RawBuilder<unknown> {
  if (!/^[a-z_]{1,60}$/.test(name)) throw new TypeError(`"${name}" cannot name a prepared statement (a-z and _, 60 at most)`);
  return sql.raw(`/* prepared: ${name} */`);
}

/** From now on the connection knows marked statements by their names; all others pass as they are. */
export function knowPreparedStatements(client: pg.ClientBase): void {
  const query = client.query.bind(client) as (...options: unknown[]) => unknown;
  const queryPrepared = (text: unknown, ...others: unknown[]): unknown => {
    const name = typeof text === "string" ? MARK.exec(text)?.[1] : undefined;
    return name === undefined ? query(text, ...others) : query({ name, text, values: others[0] });
  };
  client.query = queryPrepared as typeof client.query;
}

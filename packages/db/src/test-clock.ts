import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { connectionConfig, type DatabaseClient } from "./client.ts";
import type { Database } from "./schema.ts";
import { applySettings, sessionSettings } from "./session-settings.ts";

/** For tests only: a client of a test database whose clock says what the test says. */
export interface ClockedClient {
  readonly db: DatabaseClient;
  /** ISO 8601. All its sessions have this time from their next transaction on, and it stands still. */
  setClock(moment: string): Promise<void>;
  destroy(): Promise<void>;
}

/**
 * Opens a client for which `now()`, `statement_timestamp()` and `clock_timestamp()` are the test's, in statements as the product has
 * them: functions of these names stand before PostgreSQL's own on its search path. Of other clients nothing is changed.
 */
export async function openClockedClient({
  connectionString,
  db: plain,
}: {
  readonly connectionString: string;
  readonly db: DatabaseClient;
}): Promise<ClockedClient> {
  await sql`create schema test_clock`.execute(plain);
  await sql`create table test_clock.moments as select pg_catalog.now() as moment`.execute(plain);
  for (const name of ["now", "statement_timestamp", "clock_timestamp"])
    await sql`create function test_clock.${sql.id(name)}() returns timestamptz language sql stable return (select moment from test_clock.moments)`.execute(
      plain,
    );
  const settings = sessionSettings();
  const db = new Kysely<Database>({
    dialect: new PostgresDialect({
      pool: new pg.Pool({
        ...connectionConfig({ connectionString, applicationName: "clocked test" }),
        onConnect: (client: pg.ClientBase) =>
          applySettings(client, { ...settings, search_path: `test_clock,${settings["search_path"]},pg_catalog` }),
      }),
    }),
  });
  return {
    db,
    setClock: async (moment) => void (await sql`update test_clock.moments set moment = ${moment}::timestamptz`.execute(plain)),
    destroy: () => db.destroy(),
  };
}

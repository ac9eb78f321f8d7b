import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
import { connectionConfig, type DatabaseClient } from "../src/client.ts";
import type { Database } from "../src/schema.ts";
import { applySettings, sessionSettings } from "../src/session-settings.ts";

/** A client of a test database whose clock says what the test says. */
export interface ClockedClient {
  readonly db: DatabaseClient;
  /** ISO 8601. All its sessions have this time from their next statement on, and it stands still. */
  setClock(moment: string): Promise<void>;
  destroy(): Promise<void>;
}

/** The search path of a session that has the test's clock: `test_clock` stands before PostgreSQL's own functions. */
export const CLOCKED_SEARCH_PATH = `test_clock,${sessionSettings()["search_path"]},pg_catalog`;

/**
 * Makes `now()`, `statement_timestamp()` and `clock_timestamp()` anew in a test database, for the sessions whose search path is
 * `CLOCKED_SEARCH_PATH`: they say what a simulated process has set on its connection (`now()`: when its transaction began), or else the
 * moment of `test_clock.moments`. For other sessions nothing is changed.
 */
export async function installTestClock(db: DatabaseClient): Promise<void> {
  await sql`create schema test_clock`.execute(db);
  await sql`create table test_clock.moments as select pg_catalog.now() as moment`.execute(db);
  const clocks = { now: "virtual_begun", statement_timestamp: "virtual_now", clock_timestamp: "virtual_now" } as const;
  for (const [name, setting] of Object.entries(clocks))
    await sql`
      create function test_clock.${sql.id(name)}() returns timestamptz language sql stable
      return coalesce(nullif(current_setting(${sql.lit(`llm_gateway.${setting}`)}, true), '')::timestamptz, (select moment from test_clock.moments))`.execute(
      db,
    );
}

/** Opens a client whose clock is the test's. Once a database. */
export async function openClockedClient({
  connectionString,
  db: plain,
}: {
  readonly connectionString: string;
  readonly db: DatabaseClient;
}): Promise<ClockedClient> {
  await installTestClock(plain);
  const db = new Kysely<Database>({
    dialect: new PostgresDialect({
      pool: new pg.Pool({
        ...connectionConfig({ connectionString, applicationName: "clocked test" }),
        onConnect: (client: pg.ClientBase) => applySettings(client, { ...sessionSettings(), search_path: CLOCKED_SEARCH_PATH }),
      }),
    }),
  });
  return {
    db,
    setClock: async (moment) => void (await sql`update test_clock.moments set moment = ${moment}::timestamptz`.execute(plain)),
    destroy: () => db.destroy(),
  };
}

import { applySettings, connectionConfig, type Database, type DatabaseClient, sessionSettings } from "@proliferate/db";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";

/** What happens to each statement on its way; how a test plants a defect, or puts something between two statements. */
interface Interception {
  /** Before the statement leaves; it waits for this. */
  readonly before: (statement: string) => Promise<void>;
  readonly rewrite: (statement: string) => string;
}

/** A client of the real database whose statements pass through `interception`. */
export function openInterceptedDatabase(connectionString: string, interception: Interception): DatabaseClient {
  class InterceptedClient extends pg.Client {
    // oxlint-disable-next-line typescript/no-explicit-any -- one of many overloads; Kysely uses only this one
    override query(text: any, values?: any): any {
      return interception.before(text as string).then(() => super.query(interception.rewrite(text as string), values as unknown[]));
    }
  }
  const pool = new pg.Pool({
    ...connectionConfig({ connectionString }),
    Client: InterceptedClient as unknown as typeof pg.Client,
    onConnect: (client: pg.ClientBase) => applySettings(client, sessionSettings()),
  });
  // As in `openDatabase`: a connection that is ended by the server, as when its database is dropped, fails nobody who asked nothing of it.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

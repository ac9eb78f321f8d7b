import type { DatabaseClient } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";

/** For tests only: a change behind the ledger's back, past the triggers that refuse it, as a person with the owner's password could make it. */
export async function tamper(db: DatabaseClient, statement: RawBuilder<unknown>): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await sql`alter table billing_events disable trigger user`.execute(tx);
    await statement.execute(tx);
    await sql`alter table billing_events enable trigger user`.execute(tx);
  });
}

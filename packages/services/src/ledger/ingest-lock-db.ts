import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

/** Any constant will do; it only has to be ours and nobody else's. */
const INGEST_LOCK = 7_031_002;

/**
 * Makes the transactions that write events run one after the other, until this one ends. Take it in a statement before
 * those that look for rows without an event: they then see all that the former holder wrote. Statements of the transaction
 * join by hash where they can: tables that grow by the minute look small to the planner.
 */
export async function lockIngest(tx: DatabaseExecutor): Promise<void> {
  await sql`select pg_advisory_xact_lock(${sql.lit(INGEST_LOCK)}), set_config('enable_nestloop', 'off', true)`.execute(tx);
}

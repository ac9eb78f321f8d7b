import type { DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { sql } from "kysely";

/** The attempts of one instance that are on record, and the sum of what they reserve. */
export async function readReservations(
  db: DatabaseExecutor,
  instanceId: number,
): Promise<{ readonly attempts: number; readonly reservedUsd: DecimalText }> {
  const { rows } = await sql<{ attempts: number; reserved_usd: string }>`
    select count(*)::int as attempts, coalesce(sum(reserved_usd), 0)::text as reserved_usd
    from request_attempts where instance_id = ${instanceId}`.execute(db);
  return { attempts: rows[0]?.attempts ?? 0, reservedUsd: rows[0]?.reserved_usd ?? "0" };
}

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

/** What the common table `attempt` holds in counters, in the shape of one: of the budgets of its key and team, and of its other limits. */
export const HELD_BY_ATTEMPT = sql`
      select 'key' as principal_kind, key_hash as principal_id, 'usd' as meter, 'total' as limit_window, '' as model, '-infinity'::timestamptz as window_start, reserved_usd as amount from attempt
      union all
      select 'team', team_id, 'usd', 'total', '', '-infinity', reserved_usd from attempt where team_id is not null
      union all
      select r.* from attempt cross join reservations_of(attempt.reservations) r`;

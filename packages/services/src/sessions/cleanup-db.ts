/** Statements that put away what nobody comes back for. Each touches a bounded number of rows; call it again while it finds as many. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

interface CleanupOptions {
  /** What is younger stays. */
  readonly olderThanMs: number;
  /** Rows at most. */
  readonly limit: number;
}

/**
 * Ends sessions without a sandbox whose key expired so long ago that nobody will resume them: they would be listed as active for
 * ever. Returns how many. Their keys are of no use any more, and their reservations were released when these expired.
 */
export async function endForgottenSessions(db: DatabaseExecutor, { olderThanMs, limit }: CleanupOptions): Promise<number> {
  const { rows } = await sql`
    with forgotten as (
      select session_id from gateway_sessions
      where state = 'active' and launcher = 'none' and expires_at < now() - ${olderThanMs} * interval '1 millisecond'
      order by expires_at limit ${limit} for update skip locked
    ), ended as (
      update gateway_sessions s set state = 'ended', ended_at = now(), changed_at = now(), instance_id = null
      from forgotten f where f.session_id = s.session_id returning s.session_id
    )
    insert into session_events (session_id, type, facts) select session_id, 'ended', '{"reason":"expired"}' from ended returning 1`.execute(
    db,
  );
  return rows.length;
}

/** Deletes sessions that ended long ago and whose keys are gone, with their events. Returns how many. What they cost stays on the ledger. */
export async function deleteOldSessions(db: DatabaseExecutor, { olderThanMs, limit }: CleanupOptions): Promise<number> {
  const { rows } = await sql`
    with old as (
      select session_id from gateway_sessions
      where state = 'ended' and keys_gone_at is not null and ended_at < now() - ${olderThanMs} * interval '1 millisecond'
      order by ended_at limit ${limit} for update skip locked
    ), events as (
      delete from session_events e using old where e.session_id = old.session_id
    )
    delete from gateway_sessions s using old where s.session_id = old.session_id returning 1`.execute(db);
  return rows.length;
}

/** Statements on whether agents answer. Each touches only sessions that are ready. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import type { Launchers, SessionRow } from "./db.ts";

/** Takes ready sessions whose agents were not asked for `everyMs`, at most `limit`: of all gateways, this one asks them now. */
export async function takeAgentsToAsk(
  db: DatabaseExecutor,
  launchers: Launchers,
  everyMs: number,
  limit: number,
): Promise<readonly SessionRow[]> {
  if (launchers.length === 0) return [];
  return db
    .updateTable("gateway_sessions")
    .set({ agent_checked_at: sql<Date>`now()` })
    .where("session_id", "in", (query) =>
      query
        .selectFrom("gateway_sessions")
        .select("session_id")
        .where("state", "=", "active")
        .where("sandbox_state", "=", "ready")
        .where("launcher", "in", launchers)
        .where((row) =>
          row.or([
            row("agent_checked_at", "is", null),
            row("agent_checked_at", "<=", sql<Date>`now() - ${everyMs} * interval '1 millisecond'`),
          ]),
        )
        .orderBy(sql`agent_checked_at nulls first`)
        .limit(limit)
        .forUpdate()
        .skipLocked(),
    )
    .returningAll()
    .execute();
}

/** A session's stay in one sandbox: what was seen of its agent counts for that alone. */
const ofStay = (session: SessionRow) =>
  sql<boolean>`session_id = ${session.session_id} and sandbox_id = ${session.sandbox_id} and state = 'active' and sandbox_state = 'ready'`;

/** Notes that the agent answers. */
export async function writeAgentAnswers(db: DatabaseExecutor, session: SessionRow): Promise<void> {
  await db
    .updateTable("gateway_sessions")
    .set({ agent_silent_since: null })
    .where(ofStay(session))
    .where("agent_silent_since", "is not", null)
    .execute();
}

/** Notes that it does not, and returns for how many milliseconds that has been so; undefined when the session is elsewhere by now. */
export async function writeAgentSilence(db: DatabaseExecutor, session: SessionRow): Promise<number | undefined> {
  const { rows } = await sql<{ silent_ms: number }>`
    update gateway_sessions set agent_silent_since = coalesce(agent_silent_since, now())
    where ${ofStay(session)}
    returning (extract(epoch from now() - agent_silent_since) * 1000)::float8 as silent_ms`.execute(db);
  return rows[0]?.silent_ms;
}

/** Takes a silent agent into this gateway's hands. False when another was faster, or it was started again since. */
export async function takeSilentAgent(db: DatabaseExecutor, session: SessionRow, instanceId: number): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("gateway_sessions")
    .set({ instance_id: instanceId })
    .where(ofStay(session))
    .where("agent_silent_since", "is not", null)
    .where("agent_restarts", "=", session.agent_restarts)
    .where("instance_id", "is not distinct from", session.instance_id)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Counts a restart, successful or not, and gives the agent back to be asked. False when the session is elsewhere by now. */
export async function writeAgentRestart(db: DatabaseExecutor, session: SessionRow): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("gateway_sessions")
    .set({ agent_restarts: session.agent_restarts + 1, agent_silent_since: null, agent_checked_at: sql<Date>`now()`, instance_id: null })
    .where(ofStay(session))
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

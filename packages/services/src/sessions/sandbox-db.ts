/** Statements on the sandboxes that the gateway launches, and on what their sessions went through. */
import type { DatabaseExecutor, SessionEventTable } from "@proliferate/db";
import { type Selectable, sql } from "kysely";
import type { Launchers, SessionRow } from "./db.ts";

/** One step of a session, as it is on record. */
type SessionEventRow = Selectable<SessionEventTable>;

/** What a session event can say. */
export type SessionEventType =
  | "key_minted"
  | "creating"
  | "created"
  | "starting_agent"
  | "waiting_for_agent"
  | "cloning_repo"
  | "ready"
  | "failed"
  | "agent_unreachable"
  | "agent_restarted"
  | "extended"
  | "pausing"
  | "snapshotted"
  | "paused"
  | "resuming"
  | "ended";

/** Adds to what the session went through. `facts` never hold a secret. */
export async function insertSessionEvent(
  db: DatabaseExecutor,
  sessionId: string,
  type: SessionEventType,
  facts: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await db
    .insertInto("session_events")
    .values({ session_id: sessionId, type, facts: JSON.stringify(facts) })
    .execute();
}

/** The last event, once. */
export async function insertEndedEvent(db: DatabaseExecutor, sessionId: string): Promise<void> {
  await sql`
    insert into session_events (session_id, type)
    select ${sessionId}, 'ended' where not exists (select 1 from session_events where session_id = ${sessionId} and type = 'ended')`.execute(
    db,
  );
}

/** In order; `after` is the last event id that is known. */
export async function selectSessionEvents(
  db: DatabaseExecutor,
  sessionId: string,
  after: string,
  limit: number,
): Promise<readonly SessionEventRow[]> {
  return db
    .selectFrom("session_events")
    .selectAll()
    .where("session_id", "=", sessionId)
    .where("event_id", ">", after)
    .orderBy("event_id")
    .limit(limit)
    .execute();
}

/** A launch of one key generation: whoever holds another one has been overtaken. */
interface LaunchFence {
  readonly sessionId: string;
  readonly keyGeneration: number;
}

/** Notes how far a launch came, on its session and as an event of it. False, and nothing noted, when it was overtaken or is over. */
export async function writeLaunchStep(
  db: DatabaseExecutor,
  launch: LaunchFence,
  step: string,
  sandboxId: string | null,
  facts: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  const { rows } = await sql`
    with launch as (
      update gateway_sessions set sandbox_step = ${step}, sandbox_id = coalesce(${sandboxId}, sandbox_id), changed_at = now()
      where session_id = ${launch.sessionId} and key_generation = ${launch.keyGeneration} and state = 'active' and sandbox_state = 'launching'
      returning session_id
    )
    insert into session_events (session_id, type, facts) select session_id, ${step}, ${JSON.stringify(facts)}::jsonb from launch
    returning event_id`.execute(db);
  return rows.length > 0;
}

/** By when the sandbox ends by itself; before it is made. */
export async function writeSandboxExpiry(db: DatabaseExecutor, launch: LaunchFence, expiresAt: Date): Promise<void> {
  await sql`
    update gateway_sessions set sandbox_expires_at = ${expiresAt}
    where session_id = ${launch.sessionId} and key_generation = ${launch.keyGeneration} and sandbox_state = 'launching'`.execute(db);
}

/** The sandbox serves. Undefined when the session was ended or resumed meanwhile. */
export async function markSandboxReady(
  db: DatabaseExecutor,
  launch: LaunchFence,
  sandbox: { readonly sandboxId: string; readonly url: string },
): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      sandbox_state: "ready",
      sandbox_step: "ready",
      sandbox_id: sandbox.sandboxId,
      agent_url: sandbox.url,
      agent_checked_at: sql<Date>`now()`,
      agent_silent_since: null,
      agent_restarts: 0,
      instance_id: null,
      failure_code: null,
      failure_message: null,
      changed_at: sql<Date>`now()`,
    })
    .where("session_id", "=", launch.sessionId)
    .where("key_generation", "=", launch.keyGeneration)
    .where("state", "=", "active")
    .where("sandbox_state", "=", "launching")
    .returningAll()
    .executeTakeFirst();
}

/** Why a launch failed, for whoever asks later; the first reason stays. False when there is one, or the launch was overtaken, is over or being ended. */
export async function writeLaunchFailure(
  db: DatabaseExecutor,
  launch: LaunchFence,
  failure: { readonly code: string; readonly message: string },
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("gateway_sessions")
    .set({ failure_code: failure.code, failure_message: failure.message })
    .where("session_id", "=", launch.sessionId)
    .where("key_generation", "=", launch.keyGeneration)
    .where("state", "in", ["starting", "active"])
    .where("sandbox_state", "=", "launching")
    .where("failure_code", "is", null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Why a session that had been ready failed. */
export async function writeSessionFailure(
  db: DatabaseExecutor,
  sessionId: string,
  failure: { readonly code: string; readonly message: string },
): Promise<void> {
  await db
    .updateTable("gateway_sessions")
    .set({ failure_code: failure.code, failure_message: failure.message })
    .where("session_id", "=", sessionId)
    .where("state", "=", "active")
    .execute();
}

type SandboxState = NonNullable<SessionRow["sandbox_state"]>;

/**
 * Moves the sandbox of a running session from one state to another, and forgets what failed before; undefined when it is not
 * in the first, or its launcher is not among `launchers`. One statement, so of two calls one wins.
 */
export async function moveSandbox(
  db: DatabaseExecutor,
  sessionId: string,
  move: {
    readonly from: SandboxState;
    readonly to: SandboxState;
    readonly step: string;
    readonly instanceId: number | null;
    readonly launchers: Launchers;
  },
): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      sandbox_state: move.to,
      sandbox_step: move.step,
      instance_id: move.instanceId,
      failure_code: null,
      failure_message: null,
      changed_at: sql<Date>`now()`,
    })
    .where("session_id", "=", sessionId)
    .where("state", "=", "active")
    .where("sandbox_state", "=", move.from)
    .where("launcher", "in", ["none", ...move.launchers])
    .returningAll()
    .executeTakeFirst();
}

/** From here on the pause can only go forward. */
export async function writeSnapshot(db: DatabaseExecutor, sessionId: string, snapshotId: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("gateway_sessions")
    .set({ snapshot_id: snapshotId, sandbox_step: "snapshotted" })
    .where("session_id", "=", sessionId)
    .where("state", "=", "active")
    .where("sandbox_state", "=", "pausing")
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Rests without sandbox and key; nothing expires until it is resumed. */
export async function markPaused(db: DatabaseExecutor, sessionId: string): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      sandbox_state: "paused",
      sandbox_step: "paused",
      instance_id: null,
      sandbox_id: null,
      agent_url: null,
      sandbox_expires_at: null,
      expires_at: null,
      changed_at: sql<Date>`now()`,
    })
    .where("session_id", "=", sessionId)
    .where("state", "=", "active")
    .where("sandbox_state", "in", ["pausing", "launching"])
    .returningAll()
    .executeTakeFirst();
}

/** Gives a paused session another budget, for when it is resumed. Undefined when it is not paused. */
export async function writePausedBudget(db: DatabaseExecutor, sessionId: string, maxBudgetUsd: string): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({ max_budget_usd: maxBudgetUsd, changed_at: sql<Date>`now()` })
    .where("session_id", "=", sessionId)
    .where("state", "=", "active")
    .where("sandbox_state", "=", "paused")
    .returningAll()
    .executeTakeFirst();
}

/** Applies what a running session was given more of. Undefined when it is not running, or has another key by now. */
export async function writeExtension(
  db: DatabaseExecutor,
  session: { readonly sessionId: string; readonly keyHash: string },
  change: { readonly expiresAt?: Date | undefined; readonly maxBudgetUsd?: string | undefined },
): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      ...(change.expiresAt === undefined ? {} : { expires_at: change.expiresAt }),
      ...(change.maxBudgetUsd === undefined ? {} : { max_budget_usd: change.maxBudgetUsd }),
      changed_at: sql<Date>`now()`,
    })
    .where("session_id", "=", session.sessionId)
    .where("key_hash", "=", session.keyHash)
    .where("state", "=", "active")
    .returningAll()
    .executeTakeFirst();
}

/** Sessions that somebody works on or has left: first starts, launches, pauses, ends; those of other launchers left out. */
export async function selectUnfinished(db: DatabaseExecutor, launchers: Launchers): Promise<readonly SessionRow[]> {
  return db
    .selectFrom("gateway_sessions")
    .selectAll()
    .where("state", "<>", "ended")
    .where((row) => row.or([row("state", "in", ["starting", "ending"]), row("sandbox_state", "in", ["launching", "pausing"])]))
    .where("launcher", "in", ["none", ...launchers])
    .orderBy("session_number")
    .execute();
}

/** Sessions with a sandbox of one of these launchers whose time is over. */
export async function selectExpiredSessions(db: DatabaseExecutor, launchers: Launchers): Promise<readonly string[]> {
  if (launchers.length === 0) return [];
  const rows = await db
    .selectFrom("gateway_sessions")
    .select("session_id")
    .where("launcher", "in", launchers)
    .where("state", "=", "active")
    .where("expires_at", "<=", sql<Date>`now()`)
    .execute();
  return rows.map((row) => row.session_id);
}

/** Sessions of one launcher that may have a sandbox, whatever they do just now. */
export async function selectLaunched(db: DatabaseExecutor, launcher: "local" | "modal"): Promise<readonly SessionRow[]> {
  return db.selectFrom("gateway_sessions").selectAll().where("launcher", "=", launcher).where("state", "<>", "ended").execute();
}

/**
 * Ended sessions of which the proxy still has a key, by what stands in its own tables. A minute is left for ends under way, and ten for
 * mints; of a session that ended before and has no key, that is noted, and nobody looks again.
 */
export async function selectEndedWithKeys(db: DatabaseExecutor): Promise<readonly string[]> {
  const { rows } = await sql<{ session_id: string }>`
    with ended as materialized (
      select s.session_id, s.ended_at, (
          select true from "LiteLLM_VerificationToken" k
          where k.user_id = s.session_id and k.team_id = s.org_id and (k.expires is null or k.expires > now() at time zone 'utc') limit 1
        ) is not null as has_key
      from gateway_sessions s
      where s.state = 'ended' and s.keys_gone_at is null and s.ended_at < now() - interval '1 minute'
      order by s.ended_at limit 1000
    ), gone as (
      update gateway_sessions s set keys_gone_at = now()
      from ended e where s.session_id = e.session_id and not e.has_key and e.ended_at < now() - interval '10 minutes'
    )
    select session_id from ended where has_key`.execute(db);
  return rows.map((row) => row.session_id);
}

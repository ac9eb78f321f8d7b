import type { DatabaseExecutor, GatewaySessionTable, SessionLauncher } from "@proliferate/db";
import { type RawBuilder, type Selectable, sql } from "kysely";

/** A row of `gateway_sessions`. */
export type SessionRow = Selectable<GatewaySessionTable>;

/** What the caller decides about a session; kept from the former start when a resume leaves it out. */
export interface SessionSettings {
  /** For the caller's own records. */
  readonly userId?: string | undefined;
  /** The agent's model, as the caller named it. */
  readonly model?: string | undefined;
  /** What its keys may call, as the caller named them; empty: all. */
  readonly models?: readonly string[] | undefined;
  /** USD, decimal text. */
  readonly maxBudgetUsd?: string | undefined;
  /** The caller's own; answered with the session. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** A sandbox that the gateway launches for the session. */
export interface SandboxClaim {
  readonly launcher: Exclude<SessionLauncher, "none">;
  /** The gateway that launches it. */
  readonly instanceId: number;
  /** Whether somebody knows the agent's password when that gateway dies. */
  readonly passwordIsKept: boolean;
  readonly repoUrl: string | undefined;
  /** False: the session must be new. True: it must be one that this gateway has begun to resume. */
  readonly resumes: boolean;
}

/**
 * Inserts the session, or takes the next key generation of one that this org may resume. Undefined when the id belongs to
 * another org, the session is ending or ended, or its sandbox is somebody else's; then nothing has changed.
 * `key_generation` is 1 exactly for a new row.
 */
export async function claimSession(
  db: DatabaseExecutor,
  session: SessionSettings & {
    readonly sessionId: string;
    readonly orgId: string;
    readonly model: string;
    readonly sandbox?: SandboxClaim | undefined;
  },
): Promise<SessionRow | undefined> {
  const { sandbox } = session;
  return db
    .insertInto("gateway_sessions")
    .values({
      session_id: session.sessionId,
      org_id: session.orgId,
      user_id: session.userId ?? null,
      model: session.model,
      models: [...(session.models ?? [])],
      max_budget_usd: session.maxBudgetUsd ?? null,
      metadata: JSON.stringify(session.metadata ?? {}),
      ...(sandbox && {
        launcher: sandbox.launcher,
        sandbox_state: "launching" as const,
        sandbox_step: "claimed",
        instance_id: sandbox.instanceId,
        password_is_kept: sandbox.passwordIsKept,
        repo_url: sandbox.repoUrl ?? null,
      }),
    })
    .onConflict((conflict) =>
      conflict
        .column("session_id")
        .doUpdateSet((row) => ({
          key_generation: row("gateway_sessions.key_generation", "+", 1),
          password_is_kept: sandbox?.passwordIsKept ?? true,
        }))
        .whereRef("gateway_sessions.org_id", "=", "excluded.org_id")
        .where("gateway_sessions.state", "in", ["starting", "active"])
        // A key goes into a sandbox when it is launched and at no other time, so no other call may replace it.
        .where((row) =>
          sandbox?.resumes
            ? row.and([
                row("gateway_sessions.sandbox_state", "=", "launching"),
                row("gateway_sessions.instance_id", "=", sandbox.instanceId),
              ])
            : row.and([row("gateway_sessions.launcher", "=", "none"), sql.lit(sandbox === undefined)]),
        ),
    )
    .returningAll()
    .executeTakeFirst();
}

/** A minted key as it is put on record: its hash, never the key. */
interface RecordedKey {
  readonly sessionId: string;
  readonly keyGeneration: number;
  readonly keyHash: string;
  readonly keyAlias: string | null;
  readonly expiresAt: Date | null;
  /** USD, decimal text: what the session had spent when the key was minted. */
  readonly spentBeforeUsd: string;
}

/** Makes a minted key the session's key and applies the settings. Undefined when a newer generation or an end came first. */
export async function recordSessionKey(db: DatabaseExecutor, key: RecordedKey, settings: SessionSettings): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      state: "active",
      key_hash: key.keyHash,
      key_alias: key.keyAlias,
      expires_at: key.expiresAt,
      spent_before_key_usd: key.spentBeforeUsd,
      ...(settings.userId === undefined ? {} : { user_id: settings.userId }),
      ...(settings.model === undefined ? {} : { model: settings.model }),
      ...(settings.models === undefined ? {} : { models: [...settings.models] }),
      ...(settings.maxBudgetUsd === undefined ? {} : { max_budget_usd: settings.maxBudgetUsd }),
      ...(settings.metadata === undefined ? {} : { metadata: JSON.stringify(settings.metadata) }),
    })
    .where("session_id", "=", key.sessionId)
    .where("key_generation", "=", key.keyGeneration)
    .where("state", "in", ["starting", "active"])
    .returningAll()
    .executeTakeFirst();
}

/** Removes a session that never had a key, unless somebody else has claimed it since. */
export async function discardSession(db: DatabaseExecutor, sessionId: string, keyGeneration: number): Promise<void> {
  await db
    .deleteFrom("gateway_sessions")
    .where("session_id", "=", sessionId)
    .where("key_generation", "=", keyGeneration)
    .where("state", "=", "starting")
    .execute();
}

/** The launchers that a gateway has: a session of another one is not its to work on, so the statements that take one ask for them. */
export type Launchers = readonly Exclude<SessionLauncher, "none">[];

/**
 * From here on no key of the session is recorded, and the gateway `instanceId` ends it. Returns the row as it is now, an ended
 * one included; undefined, and nothing changed, where there is none or its launcher is not among `launchers`.
 */
export async function markSessionEnding(
  db: DatabaseExecutor,
  sessionId: string,
  instanceId: number | undefined,
  launchers: Launchers,
): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      changed_at: sql<Date>`case when state in ('starting', 'active') then now() else changed_at end`,
      instance_id: sql<number | null>`case when state = 'ended' then instance_id else ${instanceId ?? null}::integer end`,
      state: sql<"ended" | "ending">`case when state = 'ended' then 'ended' else 'ending' end`,
    })
    .where("session_id", "=", sessionId)
    .where("launcher", "in", ["none", ...launchers])
    .returningAll()
    .executeTakeFirst();
}

/** Final; the moment of the first end is kept. */
export async function markSessionEnded(db: DatabaseExecutor, sessionId: string): Promise<SessionRow | undefined> {
  return db
    .updateTable("gateway_sessions")
    .set({
      state: "ended",
      instance_id: null,
      ended_at: sql<Date>`coalesce(ended_at, now())`,
      sandbox_state: sql<"gone" | null>`case when launcher = 'none' then null else 'gone' end`,
      agent_url: null,
    })
    .where("session_id", "=", sessionId)
    .where("state", "in", ["ending", "ended"])
    .returningAll()
    .executeTakeFirst();
}

/** The session as it is on record; undefined where there is none. */
export async function findSession(db: DatabaseExecutor, sessionId: string): Promise<SessionRow | undefined> {
  return db.selectFrom("gateway_sessions").selectAll().where("session_id", "=", sessionId).executeTakeFirst();
}

/** Newest first; `before` is the `session_number` of the last row of the page before. */
export async function selectSessions(
  db: DatabaseExecutor,
  page: { readonly orgId: string; readonly before?: string | undefined; readonly limit: number },
): Promise<readonly SessionRow[]> {
  let query = db.selectFrom("gateway_sessions").selectAll().where("org_id", "=", page.orgId);
  if (page.before !== undefined) query = query.where("session_number", "<", page.before);
  return query.orderBy("session_number", "desc").limit(page.limit).execute();
}

/**
 * No event of the session was recorded before it: when the session began, and a day for a clock that was put back. Months before it are
 * not looked into. A session that is not ours may have begun at any time.
 */
export const sessionEventsSince = (sessionId: string): RawBuilder<Date> =>
  sql`coalesce((select created_at - interval '1 day' from gateway_sessions where session_id = ${sessionId}), '-infinity')`;

/** Sums over a session's events; BIGINT and NUMERIC come as text. */
interface SessionSums {
  readonly requests: string;
  readonly prompt_tokens: string;
  readonly completion_tokens: string;
  readonly spend_usd: string;
  readonly credits: string;
}

/** What the ledger has of a session; zeros where it has nothing. */
export async function sumBilledEvents(db: DatabaseExecutor, sessionId: string): Promise<SessionSums> {
  const { rows } = await sql<SessionSums>`
    select count(*) as requests,
           coalesce(sum(prompt_tokens), 0) as prompt_tokens,
           coalesce(sum(completion_tokens), 0) as completion_tokens,
           coalesce(sum(spend_usd), 0) as spend_usd,
           coalesce(sum(credits), 0) as credits
    from billing_events where session_id = ${sessionId} and recorded_at >= ${sessionEventsSince(sessionId)}`.execute(db);
  return rows[0] as SessionSums;
}

/**
 * USD in spend rows that have no event yet. Looks back as far as the worker's spend sync (24 h), as an older row has its
 * event or stands in the reviews, and no further than the session's start, with an hour for clocks that differ. DOUBLE is
 * read by its exact text.
 */
export async function sumUnbilledSpend(db: DatabaseExecutor, sessionId: string): Promise<string> {
  const { rows } = await sql<{ spend_usd: string }>`
    select coalesce(sum(spent.spend::text::numeric), 0) as spend_usd
    from "LiteLLM_SpendLogs" spent
    where spent."user" = ${sessionId}
      and spent.spend not in ('NaN', 'Infinity', '-Infinity')
      and spent."startTime" >= greatest(
        now() - interval '24 hours',
        (select created_at from gateway_sessions where session_id = ${sessionId}) - interval '1 hour'
      ) at time zone 'utc'
      and not exists (select 1 from billing_event_keys event where event.idempotency_key = 'llm:' || spent.request_id)`.execute(db);
  return rows[0]?.spend_usd ?? "0";
}

/** Resolves when PostgreSQL answers and our migrations are applied; throws the driver's error otherwise. */
export async function pingSessionStore(db: DatabaseExecutor): Promise<void> {
  await sql`select 1 from gateway_sessions limit 1`.execute(db);
}

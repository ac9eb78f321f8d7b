import { type DatabaseClient, type DatabaseExecutor, prepared, type RequestAttemptTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";
import { isForeign } from "../budgets/db.ts";
import type { CallerRow } from "../keys/db.ts";
import { insertSpendLogFrom, type SpendLogRow } from "../spend-logs/db.ts";
import { storableJson } from "../spend-logs/storable.ts";
import type { AttemptCheckpoint } from "./checkpoint.ts";

/**
 * Statements on `request_attempts`, and those that move counters with it. Counter rows are locked in the order key, team by all of
 * them, before anything of LiteLLM's is, so no two transactions wait for each other in a circle.
 */

/** An attempt as it was admitted; it never changes. */
export type AdmittedAttempt = Readonly<Omit<Selectable<RequestAttemptTable>, "checkpoint" | "checkpointed_at">>;

/** An attempt before it is on record: when it started says the clock of the database. */
export type NewAttempt = Omit<AdmittedAttempt, "started_at">;

/**
 * What a request spent before its admission is part of it up to here; the clock of a process that stood still, or is wrong, puts no
 * start further back. Less than what spend sync looks back (15 min), so that no row stands outside of it.
 */
export const MOST_BEFORE_ADMISSION_MS = 10 * 60_000;

/**
 * The start of a request that had been running for so long when its statement was sent, by the clock of the database; in whole
 * milliseconds, as spend rows have it. Not `clock_timestamp()`: the statement may have waited for the counters of its scopes by then,
 * and the attempt would start, and end, later than it did by that wait.
 */
function startOf(runningMs: number) {
  const beforeMs = Math.min(Math.max(0, runningMs), MOST_BEFORE_ADMISSION_MS);
  return sql<Date>`date_trunc('milliseconds', statement_timestamp() - ${beforeMs}::float8 * interval '1 millisecond')`;
}

export type AttemptRow = AdmittedAttempt & { readonly checkpoint: AttemptCheckpoint | null; readonly checkpointed_at: Date | null };

/**
 * Records an attempt that has been running for `runningMs`, and reserves its amount in every counter of its scopes, which the
 * caller has locked.
 */
export async function insertAttempt(tx: DatabaseExecutor, attempt: NewAttempt, runningMs: number): Promise<AdmittedAttempt> {
  const { started_at: startedAt } = await tx
    .with("attempt", (qb) =>
      qb
        .insertInto("request_attempts")
        .values({ ...attempt, started_at: startOf(runningMs) })
        .returning(["key_hash", "team_id", "reserved_usd", "started_at"]),
    )
    .with("moved", (qb) =>
      qb
        .updateTable("budget_counters as c")
        .from("attempt as a")
        .set({ reserved_usd: sql<string>`c.reserved_usd + a.reserved_usd` })
        .where(sql<boolean>`(c.scope = 'key' and c.scope_id = a.key_hash) or (c.scope = 'team' and c.scope_id = a.team_id)`),
    )
    .selectFrom("attempt")
    .select("started_at")
    .executeTakeFirstOrThrow();
  return { ...attempt, started_at: startedAt };
}

/**
 * All of an admission in one atomic statement, of a request that has been running for `runningMs`, for a caller that still is what was read of it: compares both budgets under the locks of
 * their counters, as `checkBudgets` does, reserves, and records the attempt. Undefined, and nothing changed, when the key or
 * team may not be used any more, a counter is missing, or a budget does not fit; it does not say which.
 */
export async function insertAttemptIfFits(
  db: DatabaseExecutor,
  attempt: NewAttempt,
  caller: CallerRow,
  { minimumUsd, runningMs }: { readonly minimumUsd: DecimalText; readonly runningMs: number },
): Promise<AdmittedAttempt | undefined> {
  // In one order, whoever made the object: a prepared statement has one text.
  const columns = (Object.keys(attempt) as (keyof NewAttempt)[]).toSorted();
  const { rows } = await sql<{ started_at: Date }>`${prepared("insert_attempt_if_fits")}
    with caller as (
      select k.max_budget::text::numeric as key_max_usd, t.max_budget::text::numeric as team_max_usd,
             k.spend::text::numeric as key_column_usd, t.spend::text::numeric as team_column_usd
        from "LiteLLM_VerificationToken" k
        left join "LiteLLM_TeamTable" t on t.team_id = k.team_id
       where k.token = ${caller.keyHash} and nullif(k.team_id, '') is not distinct from ${caller.teamId}::text
         and (${caller.teamId}::text is null or t.team_id is not null)
         and not coalesce(k.blocked, false) and not coalesce(t.blocked, false)
         and (k.expires is null or k.expires > clock_timestamp() at time zone 'utc')
         and coalesce(k.models, '{}') = ${caller.models}::text[] and coalesce(t.models, '{}') = ${caller.teamModels}::text[]
    ), locked as (
      select c.scope, c.scope_id, case c.scope when 'key' then a.key_max_usd else a.team_max_usd end as max_usd,
             c.reserved_usd + case when s.column_usd > c.spend_usd and ${isForeign("s.column_usd", "c.spend_usd")} then s.column_usd else c.spend_usd end as taken_usd
        from budget_counters c cross join caller a
       cross join lateral (select case c.scope when 'key' then a.key_column_usd else a.team_column_usd end as column_usd) s
       where (c.scope = 'key' and c.scope_id = ${caller.keyHash}) or (c.scope = 'team' and c.scope_id = ${caller.teamId}::text)
       order by c.scope, c.scope_id
         for update of c
    ), fitting as (
      select from locked
      having count(*) = ${caller.teamId === null ? 1 : 2}::integer
        and bool_and(max_usd is null or (max_usd > taken_usd and ${minimumUsd}::numeric <= max_usd - taken_usd))
    ), attempt as (
      insert into request_attempts (started_at, ${sql.join(columns.map((column) => sql.ref(column)))})
      select ${startOf(runningMs)}, ${sql.join(columns.map((column) => sql`${attempt[column]}`))} from fitting
      returning reserved_usd, started_at
    ), moved as (
      update budget_counters c set reserved_usd = c.reserved_usd + a.reserved_usd
        from locked l, attempt a where c.scope = l.scope and c.scope_id = l.scope_id
    )
    select started_at from attempt`.execute(db);
  return rows[0] && { ...attempt, started_at: rows[0].started_at };
}

/** Keeps the usage seen so far of each attempt, in one statement; nothing happens to those that are settled already. */
export async function checkpointAttempts(
  db: DatabaseExecutor,
  checkpoints: readonly { readonly attemptId: string; readonly checkpoint: AttemptCheckpoint }[],
): Promise<void> {
  await sql`${prepared("checkpoint_attempts")}
    update request_attempts a set checkpoint = c.checkpoint::jsonb, checkpointed_at = clock_timestamp()
      from unnest(${checkpoints.map(({ attemptId }) => attemptId)}::uuid[],
                  ${checkpoints.map(({ checkpoint }) => JSON.stringify(storableJson(checkpoint)))}::text[]) as c (attempt_id, checkpoint)
     where a.attempt_id = c.attempt_id`.execute(db);
}

/**
 * Settles an attempt in one atomic statement: attempt out, spend row in, spend added to the counters and to LiteLLM's own
 * columns, reservation released. False, and nothing changed, when the attempt is gone: settled before, by anyone.
 */
export async function replaceAttemptBySpendLog(db: DatabaseExecutor, attemptId: string, row: SpendLogRow): Promise<boolean> {
  const { rows } = await sql<{ settled: boolean }>`${prepared("replace_attempt_by_spend_log")}
    with attempt as (
      delete from request_attempts where attempt_id = ${attemptId} returning key_hash, team_id, reserved_usd
    ), locked as (
      select c.scope, c.scope_id, a.reserved_usd
        from budget_counters c
        join attempt a on (c.scope = 'key' and c.scope_id = a.key_hash) or (c.scope = 'team' and c.scope_id = a.team_id)
       order by c.scope, c.scope_id
         for update of c
    ), spend_log as (${insertSpendLogFrom(row, "attempt")}),
    moved as (
      update budget_counters c
         set spend_usd = c.spend_usd + ${row.spend}::numeric, reserved_usd = c.reserved_usd - l.reserved_usd
        from locked l
       where c.scope = l.scope and c.scope_id = l.scope_id
    ), key_spend as (
      update "LiteLLM_VerificationToken" k set spend = k.spend + ${row.spend}::float8
        from attempt a where k.token = a.key_hash and (select count(*) from locked) >= 0
    ), team_spend as (
      update "LiteLLM_TeamTable" t set spend = t.spend + ${row.spend}::float8
        from attempt a where t.team_id = a.team_id and (select count(*) from locked) >= 0
    )
    select count(*) > 0 as settled from attempt`.execute(db);
  return rows[0]?.settled ?? false;
}

/** Adds a row that corrects one, and moves the counters by the difference. False when this correction exists already. */
export async function insertCorrection(db: DatabaseExecutor, row: SpendLogRow): Promise<boolean> {
  const { rows } = await sql<{ corrected: boolean }>`
    with correction as (select 1 where not exists (select from "LiteLLM_SpendLogs" where request_id = ${row.request_id})),
    locked as (
      select c.scope, c.scope_id from budget_counters c, correction
       where (c.scope = 'key' and c.scope_id = ${row.api_key}) or (c.scope = 'team' and c.scope_id = ${row.team_id})
       order by c.scope, c.scope_id
         for update of c
    ), spend_log as (${insertSpendLogFrom(row, "correction")}),
    moved as (
      update budget_counters c set spend_usd = c.spend_usd + ${row.spend}::numeric
        from locked l where c.scope = l.scope and c.scope_id = l.scope_id
    ), key_spend as (
      update "LiteLLM_VerificationToken" k set spend = k.spend + ${row.spend}::float8
        from correction where k.token = ${row.api_key} and (select count(*) from locked) >= 0
    ), team_spend as (
      update "LiteLLM_TeamTable" t set spend = t.spend + ${row.spend}::float8
        from correction where t.team_id = ${row.team_id} and (select count(*) from locked) >= 0
    )
    select count(*) > 0 as corrected from correction`.execute(db);
  return rows[0]?.corrected ?? false;
}

/** The instances that have attempts on record, other than `exceptInstanceId`. */
export async function listInstancesWithAttempts(db: DatabaseExecutor, exceptInstanceId: number): Promise<readonly number[]> {
  const rows = await db
    .selectFrom("request_attempts")
    .select("instance_id")
    .distinct()
    .where("instance_id", "!=", exceptInstanceId)
    .orderBy("instance_id")
    .execute();
  return rows.map((row) => row.instance_id);
}

/** Attempts of an instance whose id is after `afterId`, in the order of their ids, `limit` at most. */
export async function listAttempts(
  db: DatabaseExecutor,
  instanceId: number,
  afterId: string | undefined,
  limit: number,
): Promise<readonly AttemptRow[]> {
  const rows = await db
    .selectFrom("request_attempts")
    .selectAll()
    .where("instance_id", "=", instanceId)
    .$if(afterId !== undefined, (query) => query.where("attempt_id", ">", afterId ?? ""))
    .orderBy("attempt_id")
    .limit(limit)
    .execute();
  return rows as readonly unknown[] as readonly AttemptRow[];
}

/** A new number for a proxy process; never given twice. */
export async function nextInstanceId(db: DatabaseExecutor): Promise<number> {
  const { rows } = await sql<{ id: number }>`select nextval('proxy_instance_ids')::integer as id`.execute(db);
  return rows[0]?.id ?? 0;
}

/** The time by the clock that all processes share, in whole milliseconds. */
export async function readClock(db: DatabaseExecutor): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
  return rows[0]?.now ?? new Date();
}

/** The class of the process locks that live instances hold, each on its own id; any constant that is ours. */
export const INSTANCE_LOCK_CLASS = 7_031_002;

/**
 * Does the work while holding the process lock of a dead instance, on a connection of its own. False, and nothing done,
 * when the instance lives or somebody else is at it.
 */
export async function withDeadInstance(db: DatabaseClient, instanceId: number, work: () => Promise<void>): Promise<boolean> {
  // In a transaction, which a pooler never moves to another session; it waits for the work, and that is no idleness.
  return db.transaction().execute(async (transaction) => {
    const { rows } = await sql<{ free: boolean }>`
      select pg_try_advisory_xact_lock(${INSTANCE_LOCK_CLASS}::integer, ${instanceId}::integer) as free,
        set_config('idle_in_transaction_session_timeout', '0', true)`.execute(transaction);
    if (!rows[0]?.free) return false;
    await work();
    return true;
  });
}

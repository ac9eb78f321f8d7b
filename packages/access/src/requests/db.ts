import { type DatabaseClient, type DatabaseExecutor, prepared, type RequestAttemptTable, type ReservationJson } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, type Selectable, sql } from "kysely";
import type { CallerRow } from "../keys/index.ts";
import {
  type Amounts,
  callerNow,
  type CountedLimit,
  COUNTER_OF_LIMIT,
  HAS_OTHER_LIMITS,
  IS_BUDGET,
  isBudgetOf,
  isForeign,
  limitsOfCaller,
  LOCK_ORDER,
  reserve,
} from "../limits/index.ts";
import { insertSpendLogFrom, type SpendLogRow, storableJson } from "../spend-logs/index.ts";
import type { AttemptCheckpoint } from "./checkpoint.ts";

/**
 * Statements on `request_attempts`, and those that move counters with it. Counters are locked in the order of their primary key by
 * all of them, before anything of LiteLLM's is, so no two transactions wait for each other in a circle.
 */

/** An attempt as it was admitted; it never changes. */
export type AdmittedAttempt = Readonly<Omit<Selectable<RequestAttemptTable>, "checkpoint" | "checkpointed_at">>;

/** An attempt before it is on record: when it started says the clock of the database, and what it reserves say its limits. */
export type NewAttempt = Omit<AdmittedAttempt, "started_at" | "reserved_usd" | "reservations">;

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

/** Records an attempt that has been running for `runningMs`, and reserves the most that it can take in every one of its limits, whose counters the caller has locked. */
export async function insertAttempt(
  tx: DatabaseExecutor,
  attempt: NewAttempt,
  { limits, asked, runningMs }: { readonly limits: readonly CountedLimit[]; readonly asked: Amounts; readonly runningMs: number },
): Promise<AdmittedAttempt> {
  const mostOf = ({ meter }: CountedLimit): DecimalText => asked.get(meter)?.most ?? "0";
  const beside = limits.filter((limit) => !isBudget(limit)).map((limit) => reservationOf(limit, mostOf(limit)));
  const reservations = beside.length === 0 ? null : beside;
  const reservedUsd = reservedUsdOf(asked);
  const { started_at: startedAt } = await tx
    .insertInto("request_attempts")
    .values({
      ...attempt,
      reserved_usd: reservedUsd,
      reservations: reservations === null ? null : JSON.stringify(reservations),
      started_at: startOf(runningMs),
    })
    .returning("started_at")
    .executeTakeFirstOrThrow();
  await reserve(tx, limits, mostOf);
  return { ...attempt, reserved_usd: reservedUsd, reservations, started_at: startedAt };
}

/** What an attempt holds of the budgets of its key and team. */
function reservedUsdOf(asked: Amounts): DecimalText {
  return asked.get("usd")?.most ?? "0";
}

/** Whether what it holds stands in `reserved_usd`: USD of the key or the team, for all time. */
function isBudget({ principal, meter, window, model }: CountedLimit): boolean {
  return (principal.kind === "key" || principal.kind === "team") && meter === "usd" && window === "total" && model === "";
}

function reservationOf({ principal, meter, window, model, windowStart }: CountedLimit, amount: DecimalText): ReservationJson {
  return { kind: principal.kind, id: principal.id, meter, window, model, start: windowStart, amount };
}

/**
 * All of an admission in one atomic statement, of a request that has been running for `runningMs`, for a caller that still is what was
 * read of it: compares every limit under the locks of their counters, as `checkLimits` does, reserves, and records the attempt.
 * Undefined, and nothing changed, when the key or team may not be used any more, a counter is missing, or a limit has no room; it does
 * not say which.
 */
export async function insertAttemptIfFits(
  db: DatabaseExecutor,
  attempt: NewAttempt,
  caller: CallerRow,
  { asked, runningMs }: { readonly asked: Amounts; readonly runningMs: number },
): Promise<AdmittedAttempt | undefined> {
  const { rows } = await (
    caller.hasOtherLimits
      ? insertWithinLimits(attempt, caller, { asked, runningMs })
      : insertWithinBudgets(attempt, caller, { asked, runningMs })
  ).execute(db);
  return rows[0] && { ...attempt, reserved_usd: reservedUsdOf(asked), ...rows[0] };
}

interface Admission {
  readonly asked: Amounts;
  readonly runningMs: number;
}
interface Admitted {
  readonly started_at: Date;
  readonly reservations: readonly ReservationJson[] | null;
}

/** In one order, whoever made the object: a prepared statement has one text. */
function columnsOf(attempt: NewAttempt): readonly (keyof NewAttempt)[] {
  return (Object.keys(attempt) as (keyof NewAttempt)[]).toSorted();
}

/** The same for the many callers that have no limit but the two budgets: these alone are looked at, and only if that is still so. */
function insertWithinBudgets(attempt: NewAttempt, caller: CallerRow, { asked, runningMs }: Admission): RawBuilder<Admitted> {
  const columns = columnsOf(attempt);
  return sql`${prepared("insert_attempt_within_budgets")}
    with caller as (
      select k.max_budget::text::numeric as key_max_usd, t.max_budget::text::numeric as team_max_usd,
             k.spend::text::numeric as key_column_usd, t.spend::text::numeric as team_column_usd
        from "LiteLLM_VerificationToken" k
        left join "LiteLLM_TeamTable" t on t.team_id = k.team_id
       where k.token = ${caller.keyHash} and ${isStill(caller)} and not ${HAS_OTHER_LIMITS}
    ), locked as (
      select c.principal_kind, c.principal_id, case c.principal_kind when 'key' then a.key_max_usd else a.team_max_usd end as max_usd,
             c.reserved + case when s.column_usd > c.used and ${isForeign("s.column_usd", "c.used")} then s.column_usd else c.used end as taken
        from limit_counters c cross join caller a
       cross join lateral (select case c.principal_kind when 'key' then a.key_column_usd else a.team_column_usd end as column_usd) s
       where ${isBudgetOf("key", caller.keyHash)} or ${isBudgetOf("team", caller.teamId)}
       order by ${LOCK_ORDER}
         for update of c
    ), fitting as (
      select from locked
      having count(*) = ${caller.teamId === null ? 1 : 2}::integer
        and bool_and(max_usd is null or (max_usd > taken and ${asked.get("usd")?.least ?? "0"}::numeric <= max_usd - taken))
    ), attempt as (
      insert into request_attempts (started_at, reserved_usd, ${sql.join(columns.map((column) => sql.ref(column)))})
      select ${startOf(runningMs)}, ${reservedUsdOf(asked)}, ${sql.join(columns.map((column) => sql`${attempt[column]}`))} from fitting
      returning started_at, reserved_usd
    ), moved as (
      update limit_counters c set reserved = c.reserved + a.reserved_usd from attempt a
       where ${isBudgetOf("key", caller.keyHash)} or ${isBudgetOf("team", caller.teamId)}
    )
    select started_at, null as reservations from attempt`;
}

/** The same for every caller. */
function insertWithinLimits(attempt: NewAttempt, caller: CallerRow, { asked, runningMs }: Admission): RawBuilder<Admitted> {
  const columns = columnsOf(attempt);
  return sql`${prepared("insert_attempt_within_limits")}
    with caller as (${callerNow(caller.keyHash, isStill(caller))}), applied as materialized (${limitsOfCaller(caller, attempt.model_group)}), locked as (
      select a.*, c.reserved + case when a.column_usd > c.used and ${isForeign("a.column_usd", "c.used")} then a.column_usd else c.used end as taken
        from limit_counters c join applied a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    ), judged as (
      select l.*, m.least, m.most from locked l
        left join unnest(${[...asked.keys()]}::text[], ${[...asked.values()].map(({ least }) => least)}::numeric[],
                         ${[...asked.values()].map(({ most }) => most)}::numeric[]) as m (meter, least, most) on m.meter = l.meter
    ), fitting as (
      select jsonb_agg(jsonb_build_object('kind', principal_kind, 'id', principal_id, 'meter', meter, 'window', limit_window, 'model', model,
                                          'start', window_start::text, 'amount', most::text) order by principal_kind, principal_id, meter, limit_window, model)
               filter (where not (principal_kind in ('key', 'team') and meter = 'usd' and limit_window = 'total' and model = '')) as reservations
        from judged
      having count(*) > 0 and count(*) = (select count(*) from applied)
        and bool_and(most is not null and (amount is null or enforce = 'count' or (amount > taken and least <= amount - taken)))
    ), attempt as (
      insert into request_attempts (started_at, reserved_usd, reservations, ${sql.join(columns.map((column) => sql.ref(column)))})
      select ${startOf(runningMs)}, ${reservedUsdOf(asked)}, reservations, ${sql.join(columns.map((column) => sql`${attempt[column]}`))} from fitting
      returning started_at, reservations
    ), moved as (
      update limit_counters c set reserved = c.reserved + a.most from judged a, attempt where ${COUNTER_OF_LIMIT}
    )
    select started_at, reservations from attempt`;
}

/** Whether key and team still are as they were read: a change a moment ago is decided anew. */
function isStill(caller: CallerRow): RawBuilder<unknown> {
  return sql`nullif(k.team_id, '') is not distinct from ${caller.teamId}::text and k.user_id is not distinct from ${caller.userId}::text
         and (${caller.teamId}::text is null or t.team_id is not null)
         and not coalesce(k.blocked, false) and not coalesce(t.blocked, false)
         and (k.expires is null or k.expires > clock_timestamp() at time zone 'utc')
         and coalesce(k.models, '{}') = ${caller.models}::text[] and coalesce(t.models, '{}') = ${caller.teamModels}::text[]`;
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

/** What was taken, by meter. */
type Taken = ReadonlyMap<string, DecimalText>;

/** Of what a statement took: a meter that this process does not know took what was reserved. */
function takenRows(taken: Taken): RawBuilder<unknown> {
  return sql`unnest(${[...taken.keys()]}::text[], ${[...taken.values()]}::numeric[]) as m (meter, amount)`;
}

/**
 * Settles an attempt in one atomic statement: attempt out, spend row in, what it took added to the counters of its limits and to
 * LiteLLM's own columns, reservations released. False, and nothing changed, when the attempt is gone: settled before, by anyone.
 */
export async function replaceAttemptBySpendLog(
  db: DatabaseExecutor,
  { attempt_id: attemptId, reservations }: Pick<AdmittedAttempt, "attempt_id" | "reservations">,
  row: SpendLogRow,
  taken: Taken,
): Promise<boolean> {
  const counters = reservations === null ? settleBudgets(row) : settleLimits(taken);
  const { rows } = await sql<{ settled: boolean }>`${counters.name}
    with attempt as (
      delete from request_attempts where attempt_id = ${attemptId} returning key_hash, team_id, reserved_usd, reservations
    ), ${counters.moved}, spend_log as (${insertSpendLogFrom(row, "attempt")}), key_spend as (
      update "LiteLLM_VerificationToken" k set spend = k.spend + ${row.spend}::float8
        from attempt a where k.token = a.key_hash and (select count(*) from locked) >= 0
    ), team_spend as (
      update "LiteLLM_TeamTable" t set spend = t.spend + ${row.spend}::float8
        from attempt a where t.team_id = a.team_id and (select count(*) from locked) >= 0
    )
    select count(*) > 0 as settled from attempt`.execute(db);
  return rows[0]?.settled ?? false;
}

/** The common tables `locked` and `moved` of an attempt that holds nothing beside the budgets of its key and team. */
function settleBudgets(row: SpendLogRow): { readonly name: RawBuilder<unknown>; readonly moved: RawBuilder<unknown> } {
  return {
    name: prepared("settle_within_budgets"),
    moved: sql`locked as (
      select c.principal_kind, c.principal_id, a.reserved_usd from limit_counters c
        join attempt a on ${isBudgetOf("key", sql`a.key_hash`)} or ${isBudgetOf("team", sql`a.team_id`)}
       order by ${LOCK_ORDER}
         for update of c
    ), moved as (
      update limit_counters c set used = c.used + ${row.spend}::numeric, reserved = c.reserved - l.reserved_usd
        from locked l where c.principal_kind = l.principal_kind and c.principal_id = l.principal_id and ${IS_BUDGET}
    )`,
  };
}

/** The same of every attempt. */
function settleLimits(taken: Taken): { readonly name: RawBuilder<unknown>; readonly moved: RawBuilder<unknown> } {
  return {
    name: prepared("settle_within_limits"),
    moved: sql`held as (
      select 'key' as principal_kind, key_hash as principal_id, 'usd' as meter, 'total' as limit_window, '' as model, '-infinity'::timestamptz as window_start, reserved_usd as amount from attempt
      union all
      select 'team', team_id, 'usd', 'total', '', '-infinity', reserved_usd from attempt where team_id is not null
      union all
      select r.* from attempt cross join reservations_of(attempt.reservations) r
    ), locked as (
      select a.* from limit_counters c join held a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    ), moved as (
      update limit_counters c set used = c.used + coalesce(a.taken, a.amount), reserved = c.reserved - a.amount
        from (select l.*, m.amount as taken from locked l left join ${takenRows(taken)} on m.meter = l.meter) a
       where ${COUNTER_OF_LIMIT}
    )`,
  };
}

/** Adds a row that corrects one, and moves the counters of its limits by the difference. False when this correction exists already. */
export async function insertCorrection(
  db: DatabaseExecutor,
  row: SpendLogRow,
  { reservations, more }: { readonly reservations: readonly ReservationJson[] | null; readonly more: Taken },
): Promise<boolean> {
  const { rows } = await sql<{ corrected: boolean }>`
    with correction as (select 1 where not exists (select from "LiteLLM_SpendLogs" where request_id = ${row.request_id})),
    held as (
      select 'key' as principal_kind, ${row.api_key}::text as principal_id, 'usd' as meter, 'total' as limit_window, '' as model, '-infinity'::timestamptz as window_start from correction
      union all
      select 'team', ${row.team_id}, 'usd', 'total', '', '-infinity' from correction
      union all
      select r.principal_kind, r.principal_id, r.meter, r.limit_window, r.model, r.window_start
        from correction cross join reservations_of(${JSON.stringify(reservations ?? [])}::jsonb) r
    ), locked as (
      select a.* from limit_counters c join held a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    ), spend_log as (${insertSpendLogFrom(row, "correction")}),
    moved as (
      update limit_counters c set used = c.used + a.amount
        from (select l.*, m.amount from locked l join ${takenRows(more)} on m.meter = l.meter) a where ${COUNTER_OF_LIMIT}
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

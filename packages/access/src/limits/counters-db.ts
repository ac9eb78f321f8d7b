import { type DatabaseExecutor, type Placeholders, preparedStatement } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, sql } from "kysely";
import { payerOf, type PrincipalKind } from "../principals/index.ts";
import { type CountedLimit, isLiteLLMBudget } from "./limit.ts";
import { tierOf } from "./tiers-db.ts";

/**
 * Statements on `limit_counters`: what was used and is reserved in each window of each limit. Counters are locked in the order of their
 * primary key by all of them, and before anything of LiteLLM's is, so no two transactions wait for each other in a circle.
 *
 * Every key and every team of a key has the limit `usd`, `total`: LiteLLM's `max_budget`, or none, and it is counted in either case.
 * The others stand in `limits`, or in LiteLLM's columns `rpm_limit`, `tpm_limit`, `max_parallel_requests`, `model_max_budget`, and its
 * `model_rpm_limit` and `model_tpm_limit` among the metadata. `total` counts what LiteLLM's column `spend` says, too, because stock LiteLLM reads and writes that one.
 */

/** Whether a column of LiteLLM's limits the key `k` or its team `t`, beside the two budgets; a budget that it shares may do so. */
export const HAS_LIMIT_COLUMNS = sql<boolean>`(
      k.budget_id is not null or k.rpm_limit is not null or k.tpm_limit is not null or k.max_parallel_requests is not null or coalesce(k.model_max_budget <> '{}', false)
      or t.rpm_limit is not null or t.tpm_limit is not null or t.max_parallel_requests is not null or coalesce(t.model_max_budget <> '{}', false)
      or coalesce(k.metadata ?| '{model_rpm_limit,model_tpm_limit}', false) or coalesce(t.metadata ?| '{model_rpm_limit,model_tpm_limit}', false)
)`;

/** Whether any limit stands on the path of the key `k` that has this id, with its team `t`, beside the two budgets. Most callers have none, and a shorter statement. */
export const hasOtherLimits = (keyId: RawBuilder<unknown>): RawBuilder<boolean> => sql<boolean>`(${HAS_LIMIT_COLUMNS}
      or exists (
        select from limits l
         where (l.principal_kind = 'key' and l.principal_id = ${keyId}) or (l.principal_kind = 'user' and l.principal_id = k.user_id)
            or (l.principal_kind = 'team' and l.principal_id = k.team_id)
            or (l.principal_kind = 'payer' and l.principal_id = ${payerOf(sql`nullif(k.team_id, '')`)})
            or (l.principal_kind = 'tier' and l.principal_id = ${tierOf("k.user_id")})
      ))`;

/**
 * The common table `caller`: what LiteLLM's columns of key and team say now; what a key does not set itself says its budget. Where
 * `condition` does not hold, or the key has another hash by now, it is empty, and so is `applied`.
 */
export function callerNow(
  { keyHash, token }: KeyOwner | Placeholders<KeyOwner>,
  condition: RawBuilder<unknown> = sql`true`,
): RawBuilder<unknown> {
  return sql`
      select ${keyHash}::text as key_id, nullif(k.team_id, '') as team_id, nullif(k.user_id, '') as user_id, ${tierOf("k.user_id")} as tier, ${payerOf(sql`nullif(k.team_id, '')`)} as payer_id,
             coalesce(k.max_budget, b.max_budget)::text::numeric as key_max_usd, t.max_budget::text::numeric as team_max_usd,
             k.spend::text::numeric as key_column_usd, t.spend::text::numeric as team_column_usd,
             coalesce(k.rpm_limit, b.rpm_limit) as key_rpm, coalesce(k.tpm_limit, b.tpm_limit) as key_tpm,
             coalesce(k.max_parallel_requests, b.max_parallel_requests) as key_parallel,
             case when coalesce(k.model_max_budget, '{}') = '{}' then b.model_max_budget else k.model_max_budget end as key_models,
             k.metadata->'model_rpm_limit' as key_model_rpm, k.metadata->'model_tpm_limit' as key_model_tpm,
             t.rpm_limit as team_rpm, t.tpm_limit as team_tpm, t.max_parallel_requests as team_parallel, t.model_max_budget as team_models,
             t.metadata->'model_rpm_limit' as team_model_rpm, t.metadata->'model_tpm_limit' as team_model_tpm
        from "LiteLLM_VerificationToken" k
        left join "LiteLLM_TeamTable" t on t.team_id = k.team_id
        left join "LiteLLM_BudgetTable" b on b.budget_id = k.budget_id
       where k.token = ${token} and ${condition}`;
}

/**
 * The common table `applied`: every limit of the path of `caller` that is about the model or about all, in the window that is open when the
 * transaction began. `model` null: not known yet, so only what is about all.
 *
 * | principal_kind | principal_id | meter | limit_window | model | window_start | amount | enforce | column_usd |
 * |---|---|---|---|---|---|---|---|---|
 * | key | 5e88… | usd | total | | -infinity | 5 | refuse | 1.25 |
 * | team | org_a | usd | total | | -infinity | null | refuse | 20 |
 * | user | u1 | requests | day | gpt-5 | 2026-11-27 00:00 | 100 | refuse | null |
 *
 * Where the same limit is set twice, by a column of LiteLLM's, of a user or of the user's tier, the one that refuses sooner holds. What
 * is set for a tier counts in the user's counter.
 */
export function limitsOfCaller(model: string | null | RawBuilder<string | null>): RawBuilder<unknown> {
  return sql`
      select 'key' as principal_kind, key_id as principal_id, 'usd' as meter, 'total' as limit_window, '' as model, '-infinity'::timestamptz as window_start,
             'infinity'::timestamptz as window_end, key_max_usd as amount, 'refuse' as enforce, key_column_usd as column_usd from caller
      union all
      select 'team', team_id, 'usd', 'total', '', '-infinity', 'infinity', team_max_usd, 'refuse', team_column_usd from caller where team_id is not null
      union all
      select l.principal_kind, l.principal_id, l.meter, l.limit_window, l.model, w.window_start, limit_window_end(l.limit_window, w.window_start), l.amount, l.enforce, null
        from (
          select distinct on (principal_kind, principal_id, meter, limit_window, model) * from (
            select p.principal_kind, p.principal_id, l.meter, l.limit_window, l.model, l.amount, l.enforce
              from caller c cross join lateral (values ('payer', c.payer_id, 'payer', c.payer_id), ('team', c.team_id, 'team', c.team_id),
                ('user', c.user_id, 'user', c.user_id), ('tier', c.tier, 'user', c.user_id), ('key', c.key_id, 'key', c.key_id)
              ) as p (owner_kind, owner_id, principal_kind, principal_id)
              join limits l on l.principal_kind = p.owner_kind and l.principal_id = p.owner_id
             where l.model = '' or l.model = ${model}::text
            union all
            select v.kind, v.id, v.meter, v.limit_window, '', v.amount, 'refuse'
              from caller c cross join lateral (values
                ('key', c.key_id, 'requests', 'minute', c.key_rpm::numeric), ('key', c.key_id, 'tokens', 'minute', c.key_tpm), ('key', c.key_id, 'parallel', 'total', c.key_parallel),
                ('team', c.team_id, 'requests', 'minute', c.team_rpm), ('team', c.team_id, 'tokens', 'minute', c.team_tpm), ('team', c.team_id, 'parallel', 'total', c.team_parallel)
              ) as v (kind, id, meter, limit_window, amount)
             where v.amount is not null and v.id is not null
            union all
            select v.kind, v.id, v.meter, v.limit_window, ${model}::text, v.amount::numeric, 'refuse'
              from caller c cross join lateral (values
                ('key', c.key_id, 'usd', limit_window_of(coalesce(c.key_models->${model}::text->>'time_period', c.key_models->${model}::text->>'budget_duration')),
                 coalesce(c.key_models->${model}::text->>'budget_limit', c.key_models->${model}::text->>'max_budget')),
                ('key', c.key_id, 'requests', 'minute', c.key_model_rpm->>${model}::text), ('key', c.key_id, 'tokens', 'minute', c.key_model_tpm->>${model}::text),
                ('team', c.team_id, 'usd', limit_window_of(coalesce(c.team_models->${model}::text->>'time_period', c.team_models->${model}::text->>'budget_duration')),
                 coalesce(c.team_models->${model}::text->>'budget_limit', c.team_models->${model}::text->>'max_budget')),
                ('team', c.team_id, 'requests', 'minute', c.team_model_rpm->>${model}::text), ('team', c.team_id, 'tokens', 'minute', c.team_model_tpm->>${model}::text)
              ) as v (kind, id, meter, limit_window, amount)
             where v.amount ~ '^[0-9]{1,20}([.][0-9]{1,20})?$' and v.id is not null
          ) every_limit
          order by principal_kind, principal_id, meter, limit_window, model, enforce desc, amount
        ) l
       cross join lateral (select limit_window_start(l.limit_window, now()) as window_start) w`;
}

/** Until a window ends, in whole seconds; null where it never does. */
export function secondsLeftOf(windowEnd: string): RawBuilder<unknown> {
  const end = sql.ref(windowEnd);
  return sql`case when ${end} < 'infinity' then greatest(0, ceil(extract(epoch from ${end} - clock_timestamp())))::float8 end`;
}

/** How the counter `c` of the limit `a` is found. */
export const COUNTER_OF_LIMIT = sql`c.principal_kind = a.principal_kind and c.principal_id = a.principal_id and c.meter = a.meter
         and c.limit_window = a.limit_window and c.model = a.model and c.window_start = a.window_start`;

/** In which order counters are locked. */
export const LOCK_ORDER = sql`c.principal_kind, c.principal_id, c.meter, c.limit_window, c.model, c.window_start`;

/** Whose path is meant: that of a key, as its row and its team's are now. */
interface KeyOwner {
  /** The key's id. */
  readonly keyHash: string;
  /** By which LiteLLM's table has it. */
  readonly token: string;
}

interface CountedLimitRow extends Omit<CountedLimit, "principal" | "secondsLeft"> {
  /** A float, which `packages/db` leaves as text. */
  readonly secondsLeft: string | null;
  readonly kind: PrincipalKind;
  readonly id: string;
  readonly isMissing: boolean;
}

const readLimitRows = preparedStatement<KeyOwner & { readonly model: string | null }, CountedLimitRow>(
  "read_limits",
  // Counter and column are of one moment here: a settlement moves both in one statement.
  (p) => sql`
    with caller as (${callerNow(p)}), applied as (${limitsOfCaller(p.model)})
    select a.principal_kind as kind, a.principal_id as id, a.meter, a.limit_window as "window", a.model, a.window_start::text as "windowStart",
           a.window_end::text as "windowEnd", ${secondsLeftOf("a.window_end")} as "secondsLeft", trim_scale(a.amount) as amount, a.enforce,
           case when c.used is null or is_foreign_spend(a.column_usd, c.used) then coalesce(a.column_usd, c.used, 0) else c.used end as used,
           coalesce(c.reserved, 0) as reserved, c.used is null as "isMissing"
      from applied a left join limit_counters c on ${COUNTER_OF_LIMIT}
     order by a.principal_kind, a.principal_id, a.meter, a.limit_window, a.model`,
);

/**
 * Every limit of a path in its open window, and what its counter says, without a lock. `isMissing`: some counter was not made yet, and
 * is taken as it would be made. `isChanged`: the key is gone, or has another hash or team than what was read of it, so that these are not the limits of
 * that caller; every path has the budget of its key, and a path without limits is none. Of the counters that the transaction has locked
 * it says what holds.
 */
export async function readLimits(
  db: DatabaseExecutor,
  { keyHash, token, teamId }: KeyOwner & { readonly teamId: string | null },
  model: string | null,
): Promise<{ readonly limits: readonly CountedLimit[]; readonly isMissing: boolean; readonly isChanged: boolean }> {
  const rows = await readLimitRows(db, { keyHash, token, model });
  const limits = rows.map(({ kind, id, isMissing: _isMissing, secondsLeft, ...limit }) => ({
    principal: { kind, id },
    ...limit,
    secondsLeft: secondsLeft === null ? null : Number(secondsLeft),
  }));
  const budgets = limits.filter(isLiteLLMBudget).map(({ principal }) => principal);
  const holderOf = (kind: "key" | "team"): string | null => budgets.find((principal) => principal.kind === kind)?.id ?? null;
  return { limits, isChanged: holderOf("key") !== keyHash || holderOf("team") !== teamId, isMissing: rows.some((row) => row.isMissing) };
}

/** Locks the counters of these limits until the transaction ends. */
export async function lockCounters(tx: DatabaseExecutor, limits: readonly CountedLimit[]): Promise<void> {
  await sql`select from limit_counters c join ${rowsOf(limits)} on ${COUNTER_OF_LIMIT} order by ${LOCK_ORDER} for update of c`.execute(tx);
}

/** Reserves in counters that the transaction has locked. */
export async function reserve(
  tx: DatabaseExecutor,
  limits: readonly CountedLimit[],
  amountOf: (limit: CountedLimit) => DecimalText,
): Promise<void> {
  await sql`update limit_counters c set reserved = c.reserved + a.amount from ${rowsOf(limits, amountOf)} where ${COUNTER_OF_LIMIT}`.execute(
    tx,
  );
}

function rowsOf(limits: readonly CountedLimit[], amountOf: (limit: CountedLimit) => DecimalText = () => "0"): RawBuilder<unknown> {
  const of = (pick: (limit: CountedLimit) => string): string[] => limits.map(pick);
  return sql`unnest(${of((limit) => limit.principal.kind)}::text[], ${of((limit) => limit.principal.id)}::text[], ${of((limit) => limit.meter)}::text[],
      ${of((limit) => limit.window)}::text[], ${of((limit) => limit.model)}::text[], ${of((limit) => limit.windowStart)}::timestamptz[], ${of(amountOf)}::numeric[])
      as a (principal_kind, principal_id, meter, limit_window, model, window_start, amount)`;
}

/**
 * Takes over what another engine wrote into LiteLLM's columns, so that one budget holds across both: where a column and
 * its counter differ, the column is what was spent. Only under the locks of these counters, where nobody else is between
 * the two. How many were taken over.
 */
export async function adoptForeignSpend(tx: DatabaseExecutor, caller: KeyOwner): Promise<number> {
  const { numAffectedRows } = await sql`
    with caller as (${callerNow(caller)}), applied as (${limitsOfCaller(null)})
    update limit_counters c set used = a.column_usd from applied a where ${COUNTER_OF_LIMIT} and is_foreign_spend(a.column_usd, c.used)`.execute(
    tx,
  );
  return Number(numAffectedRows ?? 0);
}

/**
 * Makes the counters that are missing, those of LiteLLM's budgets at what its columns say was spent; existing ones stay. Not within a
 * transaction that holds a counter.
 */
export async function insertMissingCounters(db: DatabaseExecutor, caller: KeyOwner, model: string | null): Promise<void> {
  await sql`
    with caller as (${callerNow(caller)}), applied as (${limitsOfCaller(model)})
    insert into limit_counters (principal_kind, principal_id, meter, limit_window, model, window_start, window_end, used)
    select principal_kind, principal_id, meter, limit_window, model, window_start, window_end, coalesce(column_usd, 0) from applied
    order by 1, 2, 3, 4, 5, 6
    on conflict do nothing`.execute(db);
}

/** Locks the counter of LiteLLM's budget of a key or team until the transaction ends; nothing where there is none. */
export async function lockBudgetCounter(tx: DatabaseExecutor, kind: "key" | "team", id: string): Promise<void> {
  await sql`select from limit_counters c where ${isBudgetOf(kind, id)} for update`.execute(tx);
}

/** Sets what was spent of LiteLLM's budget of a key or team to 0; reservations stay. */
export async function clearBudgetCounter(tx: DatabaseExecutor, kind: "key" | "team", id: string): Promise<void> {
  await sql`update limit_counters c set used = 0 where ${isBudgetOf(kind, id)}`.execute(tx);
}

/** Whether the counter `c` is one of LiteLLM's budgets, where it is of a key or a team. */
export const IS_BUDGET = sql`c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity'`;

/** Whether the counter `c` is that of LiteLLM's budget of a key or team; of none where there is no id. */
function isBudgetOf(kind: "key" | "team", id: string | null | RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`(c.principal_kind = ${sql.lit(kind)} and c.principal_id = ${id}::text and ${IS_BUDGET})`;
}

/** Deletes counters of windows that ended longer ago than `olderThanMs` and in which nothing is reserved; `limit` at most. Returns how many. */
export async function deleteEndedCounters(
  db: DatabaseExecutor,
  options: { readonly olderThanMs: number; readonly limit: number },
): Promise<number> {
  const { numAffectedRows } = await sql`
    with ended as materialized (
      select c.principal_kind, c.principal_id, c.meter, c.limit_window, c.model, c.window_start from limit_counters c
       where c.window_end < 'infinity' and c.window_end < now() - ${options.olderThanMs} * interval '1 millisecond' and c.reserved = 0
       order by c.window_end limit ${options.limit} for update skip locked
    )
    delete from limit_counters c using ended a where ${COUNTER_OF_LIMIT}`.execute(db);
  return Number(numAffectedRows ?? 0);
}

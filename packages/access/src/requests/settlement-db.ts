import { type DatabaseExecutor, type Placeholders, preparedStatement, type ReservationJson } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, sql } from "kysely";
import { COUNTER_OF_LIMIT, LOCK_ORDER } from "../limits/index.ts";
import { insertSpendLogFrom, type SpendLogRow } from "../spend-logs/index.ts";
import type { AdmittedAttempt } from "./db.ts";
import { HELD_BY_ATTEMPT } from "./reservations-db.ts";

/**
 * How an attempt goes out, for its spend row, and what moves with it. Counters are locked in the order of their primary key by all of
 * these, before anything of LiteLLM's is, so no two transactions wait for each other in a circle.
 */

/** What was taken, by meter. */
type Taken = ReadonlyMap<string, DecimalText>;

interface SettlementParameters extends SpendLogRow {
  readonly attemptId: string;
}

/** The common table `attempt`: it goes out, once, whoever settles it at the same time. */
function attemptOut(p: Placeholders<SettlementParameters>): RawBuilder<unknown> {
  return sql`delete from request_attempts where attempt_id = ${p.attemptId} returning key_hash, team_id, reserved_usd, reservations`;
}

interface BudgetSettlement extends SettlementParameters {
  /** Beside `spend`, which the statement takes for a float, as LiteLLM's column is one. */
  readonly spendUsd: DecimalText;
}

/** Of an attempt that holds nothing beside the budgets of its key and team. */
const settleWithinBudgets = preparedStatement<BudgetSettlement, { settled: boolean }>(
  "settle_within_budgets",
  (p) => sql`
    with attempt as (${attemptOut(p)}), moved as materialized (
      select settle_in_budgets(key_hash, team_id, ${p.spendUsd}::numeric, reserved_usd) as is_moved from attempt
    ), spend_log as (${insertSpendLogFrom(p, "attempt")})
    select coalesce(bool_and(is_moved), false) as settled from moved`,
);

/** What was taken, as two lists side by side. */
interface TakenLists {
  readonly meters: readonly string[];
  readonly amounts: readonly DecimalText[];
}

/** Of every attempt. A meter that this process does not know took what was reserved. */
const settleWithinLimits = preparedStatement<SettlementParameters & TakenLists, { settled: boolean }>(
  "settle_within_limits",
  (p) => sql`
    with attempt as (${attemptOut(p)}), held as materialized (
      ${HELD_BY_ATTEMPT}
    ), locked as (
      select a.* from limit_counters c join held a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    ), moved as (
      update limit_counters c set used = c.used + coalesce(a.taken, a.amount), reserved = c.reserved - a.amount
        from (select l.*, m.amount as taken from locked l left join ${takenRows(p)} on m.meter = l.meter) a
       where ${COUNTER_OF_LIMIT}
    ), spend_log as (${insertSpendLogFrom(p, "attempt")}), key_spend as materialized (
      select add_key_spend(a.key_hash, ${p.spend}::float8) as is_counted from attempt a where (select count(*) from locked) >= 0
    ), team_spend as (
      update "LiteLLM_TeamTable" t set spend = t.spend + ${p.spend}::float8
        from attempt a where t.team_id = a.team_id and (select count(*) from locked) >= 0
    )
    select coalesce(bool_and(is_counted), false) as settled from key_spend`,
);

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
  const [result] =
    reservations === null
      ? await settleWithinBudgets(db, { ...row, attemptId, spendUsd: row.spend })
      : await settleWithinLimits(db, { ...row, attemptId, ...takenLists(taken) });
  return result?.settled ?? false;
}

function takenLists(taken: Taken): TakenLists {
  return { meters: [...taken.keys()], amounts: [...taken.values()] };
}

function takenRows({ meters, amounts }: TakenLists | Placeholders<TakenLists>): RawBuilder<unknown> {
  return sql`unnest(${meters}::text[], ${amounts}::numeric[]) as m (meter, amount)`;
}

/** Adds a row that corrects one, and moves the counters of its limits by the difference. False when this correction exists already. */
export async function insertCorrection(
  db: DatabaseExecutor,
  row: SpendLogRow,
  { reservations, more }: { readonly reservations: readonly ReservationJson[] | null; readonly more: Taken },
): Promise<boolean> {
  const { rows } = await sql<{ corrected: boolean }>`
    with correction as (select 1 where not exists (select from "LiteLLM_SpendLogs" where request_id = ${row.request_id})),
    held as materialized (
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
        from (select l.*, m.amount from locked l join ${takenRows(takenLists(more))} on m.meter = l.meter) a where ${COUNTER_OF_LIMIT}
    ), key_spend as materialized (
      select add_key_spend(${row.api_key}, ${row.spend}::float8) as is_counted from correction where (select count(*) from locked) >= 0
    ), team_spend as (
      update "LiteLLM_TeamTable" t set spend = t.spend + ${row.spend}::float8
        from correction where t.team_id = ${row.team_id} and (select count(*) from locked) >= 0
    )
    select coalesce(bool_and(is_counted), false) as corrected from key_spend`.execute(db);
  return rows[0]?.corrected ?? false;
}

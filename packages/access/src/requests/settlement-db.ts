import { type DatabaseExecutor, type Placeholders, preparedStatement, type ReservationJson } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, sql } from "kysely";
import { COUNTER_OF_LIMIT, isBudgetOf, LOCK_ORDER } from "../limits/index.ts";
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

/**
 * How a settlement moves counters: common tables behind `attempt`, and a condition that is true, and asked only when all counters are
 * locked. It names each of those tables by itself: one that can have no row, because there is no team, may not be asked at all.
 */
interface MovedCounters {
  readonly moved: RawBuilder<unknown>;
  readonly areLocked: RawBuilder<boolean>;
}

/** Attempt out, spend row in, what it took added to LiteLLM's own columns. */
function settlementText(
  p: Placeholders<SettlementParameters>,
  { moved, areLocked }: MovedCounters,
): RawBuilder<{ readonly settled: boolean }> {
  return sql`
    with attempt as (
      delete from request_attempts where attempt_id = ${p.attemptId} returning key_hash, team_id, reserved_usd, reservations
    ), ${moved}, spend_log as (${insertSpendLogFrom(p, "attempt")}), key_spend as (
      update "LiteLLM_VerificationToken" k set spend = k.spend + ${p.spend}::float8
        from attempt a where k.token = a.key_hash and ${areLocked}
    ), team_spend as (
      update "LiteLLM_TeamTable" t set spend = t.spend + ${p.spend}::float8
        from attempt a where t.team_id = a.team_id and ${areLocked}
    )
    select count(*) > 0 as settled from attempt`;
}

interface BudgetSettlement extends SettlementParameters {
  readonly keyHash: string;
  readonly teamId: string | null;
  /** Beside `spend`, which the statement takes for a float, as LiteLLM's column is one. */
  readonly spendUsd: DecimalText;
}

/**
 * Of an attempt that holds nothing beside the budgets of its key and team. Each counter is found by its whole key, and moved after the one
 * before it: no plan reads other counters, whatever the planner believed of the table when it made it.
 */
const settleWithinBudgets = preparedStatement<BudgetSettlement, { settled: boolean }>("settle_within_budgets", (p) => {
  const settled = sql`set used = c.used + ${p.spendUsd}::numeric, reserved = c.reserved - a.reserved_usd from attempt a`;
  return settlementText(p, {
    moved: sql`moved_key as (
      update limit_counters c ${settled} where ${isBudgetOf("key", p.keyHash)} returning 1
    ), moved_team as (
      update limit_counters c ${settled} where ${isBudgetOf("team", p.teamId)} and (select count(*) from moved_key) >= 0 returning 1
    )`,
    areLocked: sql`(select count(*) from moved_key) + (select count(*) from moved_team) >= 0`,
  });
});

/** What was taken, as two lists side by side. */
interface TakenLists {
  readonly meters: readonly string[];
  readonly amounts: readonly DecimalText[];
}

/** Of every attempt. A meter that this process does not know took what was reserved. */
const settleWithinLimits = preparedStatement<SettlementParameters & TakenLists, { settled: boolean }>("settle_within_limits", (p) =>
  settlementText(p, {
    moved: sql`held as materialized (
      ${HELD_BY_ATTEMPT}
    ), locked as (
      select a.* from limit_counters c join held a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    ), moved as (
      update limit_counters c set used = c.used + coalesce(a.taken, a.amount), reserved = c.reserved - a.amount
        from (select l.*, m.amount as taken from locked l left join ${takenRows(p)} on m.meter = l.meter) a
       where ${COUNTER_OF_LIMIT}
    )`,
    areLocked: sql`(select count(*) from locked) >= 0`,
  }),
);

/**
 * Settles an attempt in one atomic statement: attempt out, spend row in, what it took added to the counters of its limits and to
 * LiteLLM's own columns, reservations released. False, and nothing changed, when the attempt is gone: settled before, by anyone.
 */
export async function replaceAttemptBySpendLog(
  db: DatabaseExecutor,
  attempt: Pick<AdmittedAttempt, "attempt_id" | "key_hash" | "team_id" | "reservations">,
  row: SpendLogRow,
  taken: Taken,
): Promise<boolean> {
  const { attempt_id: attemptId, key_hash: keyHash, team_id: teamId } = attempt;
  const [result] =
    attempt.reservations === null
      ? await settleWithinBudgets(db, { ...row, attemptId, keyHash, teamId, spendUsd: row.spend })
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

import { type DatabaseExecutor, prepared } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { sql } from "kysely";
import type { BudgetScope } from "./budget.ts";

/**
 * Statements on `budget_counters`: what a key or team has spent and reserved. Counter rows are locked in the order key, team by all
 * of them, and before anything of LiteLLM's is, so no two transactions wait for each other in a circle.
 */

export interface CounterRow {
  readonly scope: BudgetScope;
  readonly spendUsd: DecimalText;
  readonly reservedUsd: DecimalText;
}

/** Locks the counters of a key and its team until the transaction ends, and reads them as they are under the lock. */
export async function lockCounters(tx: DatabaseExecutor, keyHash: string, teamId: string | null): Promise<readonly CounterRow[]> {
  const { rows } = await sql<CounterRow>`
    select scope, spend_usd as "spendUsd", reserved_usd as "reservedUsd"
      from budget_counters
     where (scope = 'key' and scope_id = ${keyHash}) or (scope = 'team' and scope_id = ${teamId}::text)
     order by scope, scope_id
       for update`.execute(tx);
  return rows;
}

/**
 * The counters of a key and its team as they are now, without a lock, and with what another engine spent; those that were
 * never made are missing.
 */
export async function readCounters(db: DatabaseExecutor, keyHash: string, teamId: string | null): Promise<readonly CounterRow[]> {
  // Counter and column are of one moment here: a settlement moves both in one statement.
  const { rows } = await sql<CounterRow>`${prepared("read_counters")}
    select c.scope, case when ${isForeign("s.column_usd", "c.spend_usd")} then s.column_usd else c.spend_usd end as "spendUsd", c.reserved_usd as "reservedUsd"
      from budget_counters c
      join (${columnsOf(keyHash, teamId)}) s on s.scope = c.scope and s.scope_id = c.scope_id`.execute(db);
  return rows;
}

/** What LiteLLM's columns say was spent, in the shape of the counters. */
function columnsOf(keyHash: string, teamId: string | null) {
  return sql`select 'key' as scope, token as scope_id, spend::text::numeric as column_usd from "LiteLLM_VerificationToken" where token = ${keyHash}
             union all
             select 'team', team_id, spend::text::numeric from "LiteLLM_TeamTable" where team_id = ${teamId}::text`;
}

/**
 * Whether LiteLLM's column says something else than our counter, by more than its float can have lost: then somebody else
 * spent, or started the budget again. While ours is the only engine both move together, in one statement.
 */
export function isForeign(column: string, counter: string) {
  return sql`abs(${sql.ref(column)} - ${sql.ref(counter)}) > 0.000000001 * greatest(${sql.ref(column)}, ${sql.ref(counter)}) + 0.000000000001`;
}

/**
 * Takes over what another engine wrote into LiteLLM's columns, so that one budget holds across both: where a column and
 * its counter differ, the column is what was spent. Only under the locks of these counters, where nobody else is between
 * the two. How many were taken over.
 */
export async function adoptForeignSpend(tx: DatabaseExecutor, keyHash: string, teamId: string | null): Promise<number> {
  const { numAffectedRows } = await sql`
    update budget_counters c set spend_usd = s.column_usd
      from (${columnsOf(keyHash, teamId)}) s
     where c.scope = s.scope and c.scope_id = s.scope_id and ${isForeign("s.column_usd", "c.spend_usd")}`.execute(tx);
  return Number(numAffectedRows ?? 0);
}

/** Locks one counter until the transaction ends; nothing where there is none. */
export async function lockCounter(tx: DatabaseExecutor, scope: BudgetScope, scopeId: string): Promise<void> {
  await sql`select from budget_counters where scope = ${scope} and scope_id = ${scopeId} for update`.execute(tx);
}

/** Sets what was spent to 0; reservations stay. */
export async function clearCounterSpend(tx: DatabaseExecutor, scope: BudgetScope, scopeId: string): Promise<void> {
  await sql`update budget_counters set spend_usd = 0 where scope = ${scope} and scope_id = ${scopeId}`.execute(tx);
}

/**
 * Makes the counters that are missing, starting at what LiteLLM's columns say was spent; existing ones stay. Not within a
 * transaction that holds a counter.
 */
export async function insertMissingCounters(db: DatabaseExecutor, keyHash: string, teamId: string | null): Promise<void> {
  await sql`
    insert into budget_counters (scope, scope_id, spend_usd)
    select 'key', token, spend::text::numeric from "LiteLLM_VerificationToken" where token = ${keyHash}
    union all
    select 'team', team_id, spend::text::numeric from "LiteLLM_TeamTable" where team_id = ${teamId}::text
    order by 1, 2
    on conflict do nothing`.execute(db);
}

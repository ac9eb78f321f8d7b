import type { DatabaseClient } from "@proliferate/db";
import type { CallerRow } from "../keys/db.ts";
import { budgetError, budgetsOf } from "./admit.ts";
import { checkBudgets } from "../budgets/budget.ts";
import { type CounterRow, insertMissingCounters, readCounters } from "../budgets/db.ts";

/**
 * Throws `budget_exceeded` when the budget of the key or of its team is spent. Reserves nothing and promises nothing: for what
 * costs nothing, and before the work of reading what admission would refuse.
 */
export async function requireBudgetLeft(db: DatabaseClient, caller: CallerRow): Promise<void> {
  if (caller.maxBudgetUsd === null && caller.teamMaxBudgetUsd === null) return;
  const verdict = checkBudgets(budgetsOf(caller, await countersOf(db, caller)), "0");
  if (verdict.kind === "exceeded") throw budgetError(verdict.kind, verdict.budget);
}

/** Those that no request has needed yet are made, at what LiteLLM's columns say was spent. */
async function countersOf(db: DatabaseClient, { keyHash, teamId }: CallerRow): Promise<readonly CounterRow[]> {
  const counters = await readCounters(db, keyHash, teamId);
  if (counters.length === (teamId === null ? 1 : 2)) return counters;
  await insertMissingCounters(db, keyHash, teamId);
  return readCounters(db, keyHash, teamId);
}

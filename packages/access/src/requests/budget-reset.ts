import type { DatabaseClient } from "@proliferate/db";
import { clearBudgetCounter, type DueBudget, lockBudgetCounter, nextStoredReset } from "../limits/index.ts";
import { beginNextWindow, listBudgetsDueForReset } from "../budgets/index.ts";
import { clearKeySpend, clearSpendOfBudget, listKeysDueForReset, readKeyId } from "../keys/index.ts";
import { clearTeamSpend, listTeamsDueForReset } from "../teams/index.ts";
import { readClock } from "./db.ts";

const CLEAR = { key: clearKeySpend, team: clearTeamSpend } as const;

/**
 * Starts every budget whose window has ended again at 0, and sets when its next one ends. What is reserved stays reserved.
 * What time it is says the database, whose clock all processes share. Each budget is one transaction; several processes may run this at once, and each window is ended once.
 */
export async function resetDueBudgets(db: DatabaseClient): Promise<number> {
  return resetBudgetsDueAt(db, await readClock(db));
}

/** As {@link resetDueBudgets}, at a moment that the caller knows. */
export async function resetBudgetsDueAt(db: DatabaseClient, now: Date): Promise<number> {
  const due = { key: await listKeysDueForReset(db, now), team: await listTeamsDueForReset(db, now) };
  let reset = 0;
  for (const scope of ["key", "team"] as const) {
    for (const budget of due[scope]) if (await resetBudget(db, scope, budget, now)) reset += 1;
  }
  for (const budget of await listBudgetsDueForReset(db, now)) if (await resetSharedBudget(db, budget, now)) reset += 1;
  return reset;
}

async function resetBudget(db: DatabaseClient, scope: "key" | "team", budget: DueBudget, now: Date): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    const principalId = scope === "key" ? await readKeyId(tx, budget.id) : budget.id;
    await lockBudgetCounter(tx, scope, principalId);
    if (!(await CLEAR[scope](tx, budget, nextStoredReset(budget.duration, now)))) return false;
    await clearBudgetCounter(tx, scope, principalId);
    return true;
  });
}

/** The keys of a budget that have no window of their own follow the budget's: all of them at once, so that a crash forgets none and ends no window twice. */
async function resetSharedBudget(db: DatabaseClient, budget: DueBudget, now: Date): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    if (!(await beginNextWindow(tx, budget, nextStoredReset(budget.duration, now)))) return false;
    await clearSpendOfBudget(tx, budget.id);
    return true;
  });
}

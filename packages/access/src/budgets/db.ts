import type { BudgetTable, DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";
import type { DueBudget } from "../limits/index.ts";

/** Every statement on LiteLLM's budget table. */

export type BudgetRow = Selectable<BudgetTable>;

/** A column that is absent is left as it is (update) or empty (insert); null clears it. */
export interface BudgetFields {
  readonly maxBudgetUsd?: DecimalText | null;
  readonly softBudgetUsd?: DecimalText | null;
  readonly maxParallelRequests?: number | null;
  /** Tokens and requests a minute. */
  readonly tpmLimit?: number | null;
  readonly rpmLimit?: number | null;
  /** USD by model, as a key has it. */
  readonly modelMaxBudget?: Readonly<Record<string, unknown>> | null;
  readonly budgetDuration?: string | null;
  readonly budgetResetAt?: Date | null;
}

function columns(fields: BudgetFields) {
  return {
    ...(fields.maxBudgetUsd !== undefined && { max_budget: fields.maxBudgetUsd }),
    ...(fields.softBudgetUsd !== undefined && { soft_budget: fields.softBudgetUsd }),
    ...(fields.maxParallelRequests !== undefined && { max_parallel_requests: fields.maxParallelRequests }),
    ...(fields.tpmLimit !== undefined && { tpm_limit: fields.tpmLimit }),
    ...(fields.rpmLimit !== undefined && { rpm_limit: fields.rpmLimit }),
    ...(fields.modelMaxBudget !== undefined && { model_max_budget: fields.modelMaxBudget && JSON.stringify(fields.modelMaxBudget) }),
    ...(fields.budgetDuration !== undefined && { budget_duration: fields.budgetDuration }),
    ...(fields.budgetResetAt !== undefined && { budget_reset_at: fields.budgetResetAt?.toISOString() ?? null }),
  };
}

/** Inserts a budget; undefined when the id exists, which is then untouched. */
export async function insertBudget(
  db: DatabaseExecutor,
  budget: { readonly budgetId: string; readonly createdBy: string; readonly fields: BudgetFields },
): Promise<BudgetRow | undefined> {
  return db
    .insertInto("LiteLLM_BudgetTable")
    .values({ budget_id: budget.budgetId, created_by: budget.createdBy, updated_by: budget.createdBy, ...columns(budget.fields) })
    .onConflict((conflict) => conflict.column("budget_id").doNothing())
    .returningAll()
    .executeTakeFirst();
}

/** Sets what is given, in force for the next request of every key that has the budget; undefined when there is no such budget. */
export async function updateBudgetRow(
  db: DatabaseExecutor,
  budgetId: string,
  updatedBy: string,
  fields: BudgetFields,
): Promise<BudgetRow | undefined> {
  return db
    .updateTable("LiteLLM_BudgetTable")
    .set({ updated_at: sql<Date>`(clock_timestamp() at time zone 'utc')::timestamp(3)`, updated_by: updatedBy, ...columns(fields) })
    .where("budget_id", "=", budgetId)
    .returningAll()
    .executeTakeFirst();
}

/** Whether there is such a budget; until the transaction ends nobody deletes it. */
export async function holdBudget(tx: DatabaseExecutor, budgetId: string): Promise<boolean> {
  const { rows } = await sql`select from "LiteLLM_BudgetTable" where budget_id = ${budgetId} for key share`.execute(tx);
  return rows.length > 0;
}

/** The budgets that exist among these ids, in no order. */
export async function findBudgets(db: DatabaseExecutor, budgetIds: readonly string[]): Promise<readonly BudgetRow[]> {
  return db
    .selectFrom("LiteLLM_BudgetTable")
    .selectAll()
    .where("budget_id", "in", [...new Set(budgetIds)])
    .execute();
}

/** By id, `limit` at most. */
export async function listBudgets(db: DatabaseExecutor, limit: number): Promise<readonly BudgetRow[]> {
  return db.selectFrom("LiteLLM_BudgetTable").selectAll().orderBy("budget_id").limit(limit).execute();
}

/** Waits for those who give the budget to a key; until the transaction ends no more do. False where there is none. */
export async function lockBudget(tx: DatabaseExecutor, budgetId: string): Promise<boolean> {
  const { rows } = await sql`select from "LiteLLM_BudgetTable" where budget_id = ${budgetId} for update`.execute(tx);
  return rows.length > 0;
}

/** Deletes a budget that the transaction has locked. */
export async function deleteBudgetRow(tx: DatabaseExecutor, budgetId: string): Promise<void> {
  await tx.deleteFrom("LiteLLM_BudgetTable").where("budget_id", "=", budgetId).execute();
}

/** Budgets whose window ended at `now` or before, oldest first, 1,000 at most. */
export async function listBudgetsDueForReset(db: DatabaseExecutor, now: Date): Promise<readonly DueBudget[]> {
  const { rows } = await sql<DueBudget>`
    select budget_id as id, budget_duration as duration, budget_reset_at as "resetAt" from "LiteLLM_BudgetTable"
     where budget_duration is not null and budget_reset_at <= ${now.toISOString()}::timestamp
     order by budget_reset_at
     limit 1000`.execute(db);
  return rows;
}

/** Ends the window of a budget, and what it counts is its keys'; false when somebody else did, or the window was changed meanwhile. */
export async function beginNextWindow(tx: DatabaseExecutor, due: DueBudget, nextResetAt: Date): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update "LiteLLM_BudgetTable" set budget_reset_at = ${nextResetAt.toISOString()}::timestamp
     where budget_id = ${due.id} and budget_reset_at = ${due.resetAt.toISOString()}::timestamp`.execute(tx);
  return numAffectedRows === 1n;
}

/** How many keys have a budget, `most` at most. */
export async function countKeysOfBudget(db: DatabaseExecutor, budgetId: string, most: number): Promise<number> {
  const { rows } = await sql<{ keys: number }>`
    select count(*)::integer as keys from (select from "LiteLLM_VerificationToken" where budget_id = ${budgetId} limit ${most}) k`.execute(
    db,
  );
  return rows[0]?.keys ?? 0;
}

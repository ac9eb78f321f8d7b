import type { BudgetTable, DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";

/** Every statement on LiteLLM's budget table. */

export type BudgetRow = Selectable<BudgetTable>;

/** A column that is absent is left as it is (update) or empty (insert); null clears it. */
interface BudgetFields {
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

/** How many keys have a budget, `most` at most. */
export async function countKeysOfBudget(db: DatabaseExecutor, budgetId: string, most: number): Promise<number> {
  const { rows } = await sql<{ keys: number }>`
    select count(*)::integer as keys from (select from "LiteLLM_VerificationToken" where budget_id = ${budgetId} limit ${most}) k`.execute(
    db,
  );
  return rows[0]?.keys ?? 0;
}

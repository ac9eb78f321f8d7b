import { randomUUID } from "node:crypto";
import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import type { DecimalText } from "@proliferate/shared/money";
import {
  type BudgetFields,
  type BudgetRow,
  countKeysOfBudget,
  deleteBudgetRow,
  holdBudget,
  insertBudget,
  lockBudget,
  updateBudgetRow,
} from "./db.ts";

/** Makes a budget. Throws `invalid_request` where the id exists; that budget is unchanged. */
export async function makeBudget(
  db: DatabaseExecutor,
  {
    budgetId = randomUUID(),
    createdBy,
    fields,
  }: { readonly budgetId?: string | undefined; readonly createdBy: string; readonly fields: BudgetFields },
): Promise<BudgetRow> {
  const row = await insertBudget(db, { budgetId, createdBy, fields });
  if (row) return row;
  throw new AppError("invalid_request", `Budget with id '${budgetId}' already exists.`, { param: "budget_id" });
}

/** Changes a budget, in force for the next request of every key that has it. Throws `not_found`. */
export async function changeBudget(db: DatabaseExecutor, budgetId: string, updatedBy: string, fields: BudgetFields): Promise<BudgetRow> {
  const row = await updateBudgetRow(db, budgetId, updatedBy, fields);
  if (row) return row;
  throw budgetNotFound(budgetId);
}

/** Deletes a budget that no key has: its keys would be without a limit. Throws `not_found`, and `invalid_request` where some key has it. */
export async function removeBudget(db: DatabaseClient, budgetId: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    if (!(await lockBudget(tx, budgetId))) throw budgetNotFound(budgetId);
    if ((await countKeysOfBudget(tx, budgetId, 1)) > 0)
      throw new AppError("invalid_request", `Keys have budget "${budgetId}"; give them another (POST /key/update) or delete them first.`, {
        param: "id",
      });
    await deleteBudgetRow(tx, budgetId);
  });
}

function budgetNotFound(budgetId: string): AppError {
  return new AppError("not_found", `There is no budget "${budgetId.slice(0, 128)}".`, { param: "budget_id" });
}

/** Within the transaction that gives the budget to a key. Throws `invalid_request` where there is no such budget. */
export async function requireBudget(tx: DatabaseExecutor, budgetId: string): Promise<void> {
  if (await holdBudget(tx, budgetId)) return;
  throw new AppError("invalid_request", `There is no budget "${budgetId.slice(0, 128)}"; make it with POST /budget/new.`, {
    param: "budget_id",
  });
}

/**
 * Sets the soft budget of a key, which LiteLLM keeps in a budget of the key's own. Returns the id of that budget; null where the key has
 * none and needs none. Throws `invalid_request` where the key's budget is shared with others: it would be set for all of them.
 */
export async function writeSoftBudget(
  tx: DatabaseExecutor,
  key: { readonly budgetId: string | null; readonly changedBy: string },
  softBudgetUsd: DecimalText | null,
): Promise<string | null> {
  if (key.budgetId === null) {
    if (softBudgetUsd === null) return null;
    const budgetId = randomUUID();
    await insertBudget(tx, { budgetId, createdBy: key.changedBy, fields: { softBudgetUsd } });
    return budgetId;
  }
  if ((await countKeysOfBudget(tx, key.budgetId, 2)) > 1)
    throw new AppError(
      "invalid_request",
      `soft_budget would not be kept: the key shares budget "${key.budgetId.slice(0, 128)}" with others; set it there with POST /budget/update.`,
      { param: "soft_budget" },
    );
  await updateBudgetRow(tx, key.budgetId, key.changedBy, { softBudgetUsd });
  return key.budgetId;
}

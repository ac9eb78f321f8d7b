import { randomUUID } from "node:crypto";
import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import type { DecimalText } from "@proliferate/shared/money";
import { countKeysOfBudget, holdBudget, insertBudget, updateBudgetRow } from "./db.ts";

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

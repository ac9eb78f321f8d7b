import { z } from "zod";
import { sharedLimits } from "./key-management.ts";

const budgetId = z.string().min(1).max(255);

/** `POST /budget/new`: limits that several keys have in common, named by `budget_id` of a key. An id is made when it is absent. */
export const newBudgetRequestSchema = z.looseObject({ ...sharedLimits, budget_id: budgetId.nullish() });

/** `POST /budget/update`: what is absent stays, null clears. In force for the next request of every key that has the budget. */
export const updateBudgetRequestSchema = z.looseObject({ ...sharedLimits, budget_id: budgetId });

/** `POST /budget/info`: answers the budgets that exist among these, as a list. */
export const budgetInfoRequestSchema = z.looseObject({ budgets: z.array(budgetId).min(1).max(1_000) });

/** `POST /budget/delete`. */
export const deleteBudgetRequestSchema = z.looseObject({ id: budgetId });

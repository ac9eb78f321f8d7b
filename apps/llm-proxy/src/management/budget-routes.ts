import { type BudgetFields, changeBudget, findBudgets, listBudgets, makeBudget, removeBudget } from "@proliferate/access/budgets";
import { ADMIN_USER_ID } from "@proliferate/access/keys";
import type { DatabaseClient } from "@proliferate/db";
import {
  budgetInfoRequestSchema,
  deleteBudgetRequestSchema,
  newBudgetRequestSchema,
  updateBudgetRequestSchema,
} from "@proliferate/shared/contracts";
import type { z } from "zod";
import { budgetView } from "./budget-view.ts";
import { budgetWindow } from "./key-routes.ts";
import { parseBody, parseLimits, type Route } from "./route.ts";

/** As many budgets as one answer shows. */
const MOST_ROWS = 1_000;

/** `/budget/*` in LiteLLM's shapes: limits that keys have in common, by `budget_id`. */
export function budgetRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/budget/new", handle: async ({ body }) => newBudget(db, parseLimits(newBudgetRequestSchema, body)) },
    { method: "POST", path: "/budget/update", handle: async ({ body }) => updateBudget(db, parseLimits(updateBudgetRequestSchema, body)) },
    { method: "POST", path: "/budget/info", handle: async ({ body }) => budgetInfo(db, parseBody(budgetInfoRequestSchema, body).budgets) },
    { method: "GET", path: "/budget/list", handle: async () => (await listBudgets(db, MOST_ROWS)).map(budgetView) },
    { method: "POST", path: "/budget/delete", handle: async ({ body }) => deleteBudget(db, parseBody(deleteBudgetRequestSchema, body).id) },
  ];
}

type BudgetRequest = z.output<typeof newBudgetRequestSchema>;

/** Fields that are absent stay absent. */
function fieldsOf(request: BudgetRequest): BudgetFields {
  return {
    ...(request.max_budget !== undefined && { maxBudgetUsd: request.max_budget }),
    ...(request.soft_budget !== undefined && { softBudgetUsd: request.soft_budget }),
    ...(request.max_parallel_requests !== undefined && { maxParallelRequests: request.max_parallel_requests }),
    ...(request.tpm_limit !== undefined && { tpmLimit: request.tpm_limit }),
    ...(request.rpm_limit !== undefined && { rpmLimit: request.rpm_limit }),
    ...(request.model_max_budget !== undefined && { modelMaxBudget: request.model_max_budget }),
    ...(request.budget_duration !== undefined && budgetWindow(request.budget_duration)),
  };
}

async function newBudget(db: DatabaseClient, request: BudgetRequest): Promise<unknown> {
  return budgetView(
    await makeBudget(db, { budgetId: request.budget_id ?? undefined, createdBy: ADMIN_USER_ID, fields: fieldsOf(request) }),
  );
}

async function updateBudget(db: DatabaseClient, request: z.output<typeof updateBudgetRequestSchema>): Promise<unknown> {
  return budgetView(await changeBudget(db, request.budget_id, ADMIN_USER_ID, fieldsOf(request)));
}

async function budgetInfo(db: DatabaseClient, ids: readonly string[]): Promise<unknown> {
  return (await findBudgets(db, ids)).map(budgetView);
}

async function deleteBudget(db: DatabaseClient, id: string): Promise<unknown> {
  const [row] = await findBudgets(db, [id]);
  await removeBudget(db, id);
  return row === undefined ? null : budgetView(row);
}

export { requireBudget, writeSoftBudget } from "./budgets.ts";
export { type BudgetRow, findBudgets } from "./db.ts";

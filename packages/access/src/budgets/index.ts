export { changeBudget, makeBudget, removeBudget, requireBudget, writeSoftBudget } from "./budgets.ts";
export { beginNextWindow, type BudgetFields, type BudgetRow, findBudgets, listBudgets, listBudgetsDueForReset } from "./db.ts";

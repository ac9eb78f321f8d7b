import type { BudgetRow } from "@proliferate/access/budgets";

/** A number as LiteLLM's JSON has it, for display; null where there is none. */
export function numberOf(value: string | null | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}

/** A budget as LiteLLM answers it. */
export function budgetView(row: BudgetRow): Record<string, unknown> {
  return {
    ...row,
    max_budget: numberOf(row.max_budget),
    soft_budget: numberOf(row.soft_budget),
    tpm_limit: numberOf(row.tpm_limit),
    rpm_limit: numberOf(row.rpm_limit),
  };
}

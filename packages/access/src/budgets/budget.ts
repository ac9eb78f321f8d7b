import { compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";

export type BudgetScope = "key" | "team";

/** One budget that a request must fit into, as its counter stands under lock. Amounts in USD. */
export interface Budget {
  readonly scope: BudgetScope;
  /** Null = no limit. */
  readonly maxUsd: DecimalText | null;
  readonly spendUsd: DecimalText;
  readonly reservedUsd: DecimalText;
}

export type BudgetVerdict =
  | { readonly kind: "fits" }
  /** Not even with every request in flight given back. */
  | { readonly kind: "exceeded"; readonly budget: Budget }
  /** Only the reservations of requests in flight stand in the way. */
  | { readonly kind: "reserved"; readonly budget: Budget };

/**
 * Whether a request that costs at least `minimumUsd` (its input) may start. It then reserves its worst case in every one
 * of these budgets, even where less is left: that closes the budget until the request ends, because nothing fits into
 * less than nothing. So what all requests together spend beyond a budget is never more than one of them costs.
 */
export function checkBudgets(budgets: readonly Budget[], minimumUsd: DecimalText): BudgetVerdict {
  let reserved: Budget | undefined;
  for (const budget of budgets) {
    if (budget.maxUsd === null) continue;
    const unspentUsd = subtractDecimals(budget.maxUsd, budget.spendUsd);
    if (!fits(minimumUsd, unspentUsd)) return { kind: "exceeded", budget };
    if (!fits(minimumUsd, subtractDecimals(unspentUsd, budget.reservedUsd))) reserved ??= budget;
  }
  return reserved ? { kind: "reserved", budget: reserved } : { kind: "fits" };
}

/** Something must be left even for a request that costs nothing: a spent budget admits nothing. */
function fits(minimumUsd: DecimalText, leftUsd: DecimalText): boolean {
  return compareDecimals(leftUsd, "0") > 0 && compareDecimals(minimumUsd, leftUsd) <= 0;
}

/** A budget whose window has ended. */
export interface DueBudget {
  readonly id: string;
  readonly duration: string;
  readonly resetAt: Date;
}

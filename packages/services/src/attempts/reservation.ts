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

export type ReservationDecision =
  | { readonly kind: "granted"; readonly reservedUsd: DecimalText }
  /** Not even with every request in flight given back. */
  | { readonly kind: "exceeded"; readonly budget: Budget }
  /** Only the reservations of requests in flight stand in the way. */
  | { readonly kind: "reserved"; readonly budget: Budget };

const smaller = (a: DecimalText, b: DecimalText): DecimalText => (compareDecimals(a, b) <= 0 ? a : b);

/**
 * How much of its budgets a request gets: the worst case, or what is left if that is less. A request that gets less than
 * its worst case has taken all that was left, so no other is admitted until it ends: all overshoot together is what one
 * request costs beyond its reservation. `minimumUsd` is what it costs at least (its input).
 */
export function decideReservation(budgets: readonly Budget[], minimumUsd: DecimalText, worstCaseUsd: DecimalText): ReservationDecision {
  let reservedUsd = worstCaseUsd;
  let blocking: Budget | undefined;
  for (const budget of budgets) {
    if (budget.maxUsd === null) continue;
    const unspentUsd = subtractDecimals(budget.maxUsd, budget.spendUsd);
    const leftUsd = subtractDecimals(unspentUsd, budget.reservedUsd);
    if (!fits(minimumUsd, unspentUsd)) return { kind: "exceeded", budget };
    if (!fits(minimumUsd, leftUsd)) blocking ??= budget;
    reservedUsd = smaller(reservedUsd, leftUsd);
  }
  return blocking ? { kind: "reserved", budget: blocking } : { kind: "granted", reservedUsd };
}

/** Something must be left even for a request that costs nothing: a spent budget admits nothing. */
function fits(minimumUsd: DecimalText, leftUsd: DecimalText): boolean {
  return compareDecimals(leftUsd, "0") > 0 && compareDecimals(minimumUsd, leftUsd) <= 0;
}

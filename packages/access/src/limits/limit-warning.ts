import { compareDecimals, type DecimalText, multiplyDecimals } from "@proliferate/shared/money";
import { type CountedLimit, isLiteLLMBudget } from "./limit.ts";

/** Of how much of a limit somebody is told, the least first. */
const WARNING_PERCENTS = [80, 95] as const;

/** So much of a limit is used that somebody should know. */
export interface LimitWarning {
  /** Its amount is set. */
  readonly limit: CountedLimit;
  /** How much is used at least; null where a soft budget is, which stands in the limit as its amount. */
  readonly percent: (typeof WARNING_PERCENTS)[number] | null;
}

/** LiteLLM's `soft_budget` of key and team, in USD; null: none. */
interface SoftBudgets {
  readonly key: DecimalText | null;
  readonly team: DecimalText | null;
}

/**
 * What is to be told of limits as they stand, by what is used and not by what is reserved: of each the highest percentage that is reached,
 * and each soft budget that is. A limit of 0 is used up from the start, and nobody is told of it.
 */
export function warningsOf(limits: readonly CountedLimit[], softBudgets: SoftBudgets): readonly LimitWarning[] {
  return limits.flatMap((limit) => {
    const warnings: LimitWarning[] = [];
    const percent = percentReached(limit);
    if (percent !== undefined) warnings.push({ limit, percent });
    const soft = isLiteLLMBudget(limit) ? softBudgets[limit.principal.kind as keyof SoftBudgets] : null;
    if (soft !== null && soft !== undefined && compareDecimals(soft, "0") > 0 && compareDecimals(limit.used, soft) >= 0)
      warnings.push({ limit: { ...limit, amount: soft, enforce: "count" }, percent: null });
    return warnings;
  });
}

/** The lowest is asked for first, and for most requests that is all. */
function percentReached({ amount, used }: CountedLimit): LimitWarning["percent"] | undefined {
  if (amount === null || compareDecimals(amount, "0") <= 0) return undefined;
  const hundredfold = multiplyDecimals(used, "100");
  const firstOpen = WARNING_PERCENTS.findIndex((percent) => compareDecimals(hundredfold, multiplyDecimals(amount, String(percent))) < 0);
  return firstOpen === -1 ? WARNING_PERCENTS.at(-1) : WARNING_PERCENTS[firstOpen - 1];
}

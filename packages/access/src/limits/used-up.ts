import { compareDecimals, type DecimalText } from "@proliferate/shared/money";
import type { CountedLimit } from "./limit.ts";

type RefusingLimit = CountedLimit & { readonly amount: DecimalText };

/**
 * Of the limits of a path, in their order: those that refuse, up to the first one that is used up; empty where none is, or where what its
 * refusal says may change by itself. Used up is a limit of which as much was *used* as it allows. It refuses every request, whatever
 * that takes, because a request starts only where something is left; and what was used becomes less by an edit, a correction of an
 * estimate or a new window alone, never because a request in flight ends. What is reserved comes back at any moment, so it makes no limit used up.
 *
 * A refusal tells amounts of the key alone (`limit-error.ts`): what requests in flight hold of its limit will be added to what the next one tells,
 * so that limit is used up only once nothing is reserved in it.
 */
export function usedUpPart(limits: readonly CountedLimit[]): readonly CountedLimit[] {
  const refusing = limits.filter((limit): limit is RefusingLimit => limit.amount !== null && limit.enforce === "refuse");
  const index = refusing.findIndex(({ amount, used }) => compareDecimals(used, amount) >= 0);
  const usedUp = refusing[index];
  if (!usedUp) return [];
  const isSteady = usedUp.principal.kind !== "key" || compareDecimals(usedUp.reserved, "0") === 0;
  return isSteady ? refusing.slice(0, index + 1) : [];
}

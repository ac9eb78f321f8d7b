import { compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { keepAmount, larger, smaller, stateAmount } from "./decimal.ts";

export type OverageBehavior = "cap" | "overflow" | "reject";

/** One grant of a feature to a customer. A customer may have several of one feature; they are shown as their sum. */
export interface Balance {
  readonly id: string;
  /** Null: made by itself (`balances.create`), not by a plan. Such a one is gone when nothing at all is left of it. */
  readonly planId: string | null;
  readonly granted: DecimalText;
  /** What is left, as Autumn keeps it; negative after an overflow. */
  readonly left: DecimalText;
  readonly isUnlimited: boolean;
  /** When it is full again; null: never. */
  readonly resetsAtMs: number | null;
  readonly periodMs: number | null;
}

/** A part of a deduction: what one balance gave, as Autumn states it; negative: what it got back. */
export interface Piece {
  readonly balanceId: string;
  readonly planId: string | null;
  readonly value: DecimalText;
}

export const usageOf = (balance: Balance): DecimalText => subtractDecimals(balance.granted, balance.left);

/** Never negative: an overdrawn balance shows as nothing left. */
export const remainingOf = (balance: Balance): DecimalText => (balance.isUnlimited ? "0" : larger(balance.left, "0"));

/** What a track of this value takes from which balance; undefined where `reject` refuses it. Without balances: nothing. */
export function measure(balances: readonly Balance[], value: DecimalText, overage: OverageBehavior): readonly Piece[] | undefined {
  const unlimited = balances.find((balance) => balance.isUnlimited);
  if (unlimited) return pieces([[unlimited, value]]);
  if (compareDecimals(value, "0") < 0) return refund(balances, value, overage);
  const taken: [Balance, DecimalText][] = [];
  let open = value;
  for (const balance of balances) {
    const part = smaller(open, remainingOf(balance));
    if (compareDecimals(part, "0") <= 0) continue;
    taken.push([balance, part]);
    open = subtractDecimals(open, part);
  }
  if (compareDecimals(open, "0") > 0 && overage === "reject" && balances.length > 0) return undefined;
  const last = balances.at(-1);
  if (compareDecimals(open, "0") > 0 && overage === "overflow" && last) taken.push([last, open]);
  return pieces(taken);
}

/** Within a cap, no balance gets back more than was used of it; an overflow knows no bound. */
function refund(balances: readonly Balance[], value: DecimalText, overage: OverageBehavior): readonly Piece[] {
  const [first] = balances;
  if (overage === "overflow") return pieces(first ? [[first, value]] : []);
  const given: [Balance, DecimalText][] = [];
  let open = value;
  for (const balance of balances.toReversed()) {
    const part = larger(open, subtractDecimals("0", larger(usageOf(balance), "0")));
    given.push([balance, part]);
    open = subtractDecimals(open, part);
  }
  return pieces(given);
}

/** One for each balance. */
function pieces(taken: readonly (readonly [Balance, DecimalText])[]): readonly Piece[] {
  const byBalance = new Map<Balance, DecimalText>();
  for (const [balance, value] of taken)
    byBalance.set(balance, subtractDecimals(value, subtractDecimals("0", byBalance.get(balance) ?? "0")));
  return [...byBalance]
    .filter(([, value]) => compareDecimals(value, "0") !== 0)
    .map(([balance, value]) => ({ balanceId: balance.id, planId: balance.planId, value: stateAmount(value) }));
}

/** After a deduction: what is smaller than Autumn keeps vanishes, and so does a balance without a plan of which nothing is left. */
export function applyPieces(balances: readonly Balance[], taken: readonly Piece[]): readonly Balance[] {
  return balances
    .map((balance) => {
      const piece = taken.find((one) => one.balanceId === balance.id);
      return piece ? { ...balance, left: keepAmount(subtractDecimals(balance.left, piece.value)) } : balance;
    })
    .filter(
      (balance) =>
        balance.planId !== null || balance.isUnlimited || balance.left !== "0" || !taken.some((one) => one.balanceId === balance.id),
    );
}

/** A balance whose period is over is full again: an overdraft is forgotten with it. */
export function resetDue(balance: Balance, nowMs: number): Balance {
  if (balance.resetsAtMs === null || balance.periodMs === null || balance.resetsAtMs > nowMs) return balance;
  const periods = Math.floor((nowMs - balance.resetsAtMs) / balance.periodMs) + 1;
  return { ...balance, left: balance.granted, resetsAtMs: balance.resetsAtMs + periods * balance.periodMs };
}

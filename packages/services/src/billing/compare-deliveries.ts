import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import type { ComparableBatch } from "./reconcile-deliveries-db.ts";

/** What a comparison says of one batch. */
export type Verdict =
  /** The record shows what our books say. */
  | { readonly kind: "agrees" }
  /** The record settles what was open: taken in full, or not at all. */
  | { readonly kind: "confirmed" | "not_taken" }
  /** Too early to say: the record may lack what is recent. */
  | { readonly kind: "waits" }
  /** The sink holds something else than our books; `correction` would make it agree (negative gives back). */
  | { readonly kind: "double_charge" | "lost_deduction" | "wrong_amount"; readonly foundCredits: DecimalText; readonly correction: DecimalText; readonly message: string }
  /** Evidence that does not decide. */
  | { readonly kind: "unresolved"; readonly foundCredits: DecimalText | null; readonly message: string };

const isZero = (amount: DecimalText): boolean => compareDecimals(amount, "0") === 0;
const isSame = (a: DecimalText, b: DecimalText): boolean => compareDecimals(a, b) === 0;

/** Judges one batch by the sink's own list: `found` is the sum of all deductions that name it. */
export function judgeByList(batch: ComparableBatch, found: DecimalText): Verdict {
  return batch.expectedCredits === null ? judgeOpen(batch, found) : judgeSettled(batch, batch.expectedCredits, found);
}

function judgeOpen(batch: ComparableBatch, found: DecimalText): Verdict {
  if (isSame(found, batch.credits)) return { kind: "confirmed" };
  if (compareDecimals(found, batch.credits) > 0) return judgeSettled(batch, batch.credits, found);
  if (!batch.isQuiet) return { kind: "waits" };
  if (isZero(found)) return { kind: "not_taken" };
  return { kind: "unresolved", foundCredits: found, message: `the sink took ${found} of ${batch.credits} credits; decide by hand what becomes of the rest` };
}

function judgeSettled(batch: ComparableBatch, expected: DecimalText, found: DecimalText): Verdict {
  if (isSame(found, expected)) return { kind: batch.isUnconfirmed ? "confirmed" : "agrees" };
  if (!batch.isQuiet) return { kind: "waits" };
  const correction = subtractDecimals(expected, found);
  const facts = { foundCredits: found, correction };
  if (isZero(found)) return { ...facts, kind: "lost_deduction", message: `the sink has no deduction for the ${expected} credits that count as taken` };
  if (compareDecimals(found, expected) < 0) return { ...facts, kind: "wrong_amount", message: `the sink took ${found} credits where ${expected} count as taken` };
  const excess = subtractDecimals(found, expected);
  return { ...facts, kind: "double_charge", message: `the sink took ${found} credits for a batch of ${expected}: ${excess} too much` };
}

/**
 * Judges an org's undecided batches where the sink keeps no list: `unexplained` is what it took from the org beyond
 * everything that it stated. Decides only when all of them, or none, explain it.
 */
export function judgeByUsage(undecided: readonly ComparableBatch[], unexplained: DecimalText): Verdict {
  if (!undecided.every((batch) => batch.isQuiet)) return { kind: "waits" };
  if (isSame(unexplained, addDecimals(...undecided.map((batch) => batch.credits)))) return { kind: "confirmed" };
  if (isZero(unexplained)) return { kind: "not_taken" };
  const message = `the sink keeps no list of deductions, and ${unexplained} credits of the org's usage there are not explained by what it stated; compare by hand`;
  return { kind: "unresolved", foundCredits: null, message };
}

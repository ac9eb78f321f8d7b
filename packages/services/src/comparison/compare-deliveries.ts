import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { isStatedAs, isWithinNoise } from "../sinks/index.ts";
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
  | {
      readonly kind: "double_charge" | "lost_deduction" | "wrong_amount";
      readonly foundCredits: DecimalText;
      readonly correction: DecimalText;
      readonly message: string;
    }
  /** Evidence that does not decide. */
  | { readonly kind: "unresolved"; readonly foundCredits: DecimalText | null; readonly message: string };

/** The balances whose sum of usage is read: those of the last comparison that found nothing amiss, others, or there was no such comparison. */
export type SeenBalances = "same" | "others" | "not_noted";

/** Whether a sum that may be off by `noise` tells an amount from nothing. */
const isTellable = (amount: DecimalText, noise: DecimalText): boolean => !isWithinNoise(amount, "0", addDecimals(noise, noise));
const isZero = (amount: DecimalText): boolean => compareDecimals(amount, "0") === 0;
/** As far as the sink's digits tell. */
const isSame = (stated: DecimalText, ours: DecimalText): boolean => isStatedAs(ours, stated);

/** Judges one batch by the sink's own list: `found` is the sum of all deductions that name it. */
export function judgeByList(batch: ComparableBatch, found: DecimalText): Verdict {
  return batch.expectedCredits === null ? judgeOpen(batch, found) : judgeSettled(batch, batch.expectedCredits, found);
}

function judgeOpen(batch: ComparableBatch, found: DecimalText): Verdict {
  if (isSame(found, batch.credits)) return { kind: "confirmed" };
  if (compareDecimals(found, batch.credits) > 0) return judgeSettled(batch, batch.credits, found);
  if (!batch.isQuiet) return { kind: "waits" };
  if (isZero(found)) return { kind: "not_taken" };
  return {
    kind: "unresolved",
    foundCredits: found,
    message: `the sink took ${found} of ${batch.credits} credits; decide by hand what becomes of the rest`,
  };
}

function judgeSettled(batch: ComparableBatch, expected: DecimalText, found: DecimalText): Verdict {
  if (isSame(found, expected)) return { kind: batch.isUnconfirmed ? "confirmed" : "agrees" };
  if (!batch.isQuiet) return { kind: "waits" };
  const correction = subtractDecimals(expected, found);
  const facts = { foundCredits: found, correction };
  if (isZero(found))
    return { ...facts, kind: "lost_deduction", message: `the sink has no deduction for the ${expected} credits that count as taken` };
  if (compareDecimals(found, expected) < 0)
    return { ...facts, kind: "wrong_amount", message: `the sink took ${found} credits where ${expected} count as taken` };
  const excess = subtractDecimals(found, expected);
  return { ...facts, kind: "double_charge", message: `the sink took ${found} credits for a batch of ${expected}: ${excess} too much` };
}

/** What the sink's own sum of an org's usage says, beside its list. */
export type Witness =
  /** The sink keeps no such sum: its list is all there is. */
  | { readonly kind: "none" }
  /** Not of one moment with our books: something is under way. */
  | { readonly kind: "moving" }
  /** The sink has no sum of this org now. */
  | { readonly kind: "missing" }
  /** `offCredits`: how much more the sink's sum is than the list and our books account for. `noiseCredits`: what its digits do not tell. */
  | {
      readonly kind: "agrees" | "differs";
      readonly offCredits: DecimalText;
      readonly noiseCredits: DecimalText;
      readonly balances: SeenBalances;
    };

/** Conclusions that would move money, or send again what may have been taken: each needs both the list and the sum. */
const NEEDS_BOTH: ReadonlySet<Verdict["kind"]> = new Set(["double_charge", "lost_deduction", "wrong_amount", "not_taken"]);

/** A server that dies loses an event or a balance, not both alike: where list and sum contradict each other a person decides. */
export function confirmByWitness(batch: ComparableBatch, found: DecimalText, verdict: Verdict, witness: Witness): Verdict {
  if (!NEEDS_BOTH.has(verdict.kind) || witness.kind === "none") return verdict;
  if (witness.kind === "moving") return { kind: "waits" };
  const counted = batch.expectedCredits ?? batch.credits;
  const list = `the sink's list shows ${found} credits for the ${counted} of the batch`;
  if (witness.kind === "agrees" && !isTellable(subtractDecimals(found, counted), witness.noiseCredits))
    return {
      kind: "unresolved",
      foundCredits: found,
      message: `${list}, and the difference is too small to show in its sum of usage, whose digits tell ${witness.noiseCredits} and more; look at the customer there, then billing decide`,
    };
  // The sum of the sink lacks this batch. That proves that the batch was not taken only where the sum is one of the same balances as the
  // sum that was noted before the batch was sent.
  // Credits that were taken from a balance that is gone since are in no sum. Where no balances were noted, nobody knows whether one is gone.
  if (witness.kind === "agrees" && (compareDecimals(found, batch.credits) > 0 || witness.balances === "same")) return verdict;
  if (witness.kind === "agrees")
    return {
      kind: "unresolved",
      foundCredits: found,
      message: `${list}, and its sum of usage is of other balances than before, or was not noted before: it cannot tell; look at the customer there, then billing decide`,
    };
  const sum =
    witness.kind === "missing"
      ? "it has no balance of the organization to check that by"
      : `its own sum of the organization's usage does not: it is off by ${witness.offCredits}`;
  return { kind: "unresolved", foundCredits: found, message: `${list}, and ${sum}; look at the customer there, then billing decide` };
}

/**
 * Judges an org's undecided batches where the sink keeps no list: `unexplained` is what it took from the org beyond
 * everything that our books account for, give or take `noise`. Decides only when all of them, or none, explain it, and concludes
 * from an absence only where the sum is of the balances that were noted before.
 */
export function judgeByUsage(
  undecided: readonly ComparableBatch[],
  sum: { readonly unexplained: DecimalText; readonly noise: DecimalText; readonly balances: SeenBalances },
): Verdict {
  const { unexplained, noise } = sum;
  if (!undecided.every((batch) => batch.isQuiet)) return { kind: "waits" };
  const all = addDecimals(...undecided.map((batch) => batch.credits));
  if (isTellable(all, noise) && isWithinNoise(unexplained, all, noise)) return { kind: "confirmed" };
  if (isTellable(all, noise) && isWithinNoise(unexplained, "0", noise) && sum.balances === "same") return { kind: "not_taken" };
  const message = `the sink keeps no list of deductions, and ${unexplained} credits of the org's usage there are not explained by our books; look at the customer there, then billing decide`;
  return { kind: "unresolved", foundCredits: null, message };
}

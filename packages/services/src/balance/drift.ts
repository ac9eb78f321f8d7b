import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";

export type DriftSeverity = "none" | "info" | "warn" | "critical";
export type BalanceCause = "first_sight" | "agrees" | "grant" | "period_reset" | "sink_took_more" | "sink_took_less";

/** Autumn's balances are doubles, rounded to 10 decimals: sums of many differ in their last digits. */
const NOISE_CREDITS = "0.000001";

export interface DriftTiers {
  /** Credits; default 10. */
  readonly warnCredits?: DecimalText;
  /** Credits; default 500. */
  readonly criticalCredits?: DecimalText;
}

export interface BalanceFacts {
  /** Ours; null at first sight. */
  readonly localCredits: DecimalText | null;
  readonly remoteCredits: DecimalText;
  /** Used and certainly not taken by the sink; and used and possibly taken. */
  readonly certainCredits: DecimalText;
  readonly uncertainCredits: DecimalText;
  /** How much more the sink grants than at the last reading; null where there was none. */
  readonly grantedMoreCredits: DecimalText | null;
  /** The sink's period began anew since the last reading. */
  readonly periodReset: boolean;
}

export interface BalanceFinding {
  /** What our balance has to be. */
  readonly afterCredits: DecimalText;
  readonly cause: BalanceCause;
  /** Explained part of the change. before + grant - drift = after. */
  readonly grantCredits: DecimalText;
  /** Unexplained part, positive where we had too much. */
  readonly driftCredits: DecimalText;
  readonly severity: DriftSeverity;
}

/** Compares our balance with the bounds that the sink's justifies, corrects it to the nearer one, and names what was off (README.md). */
export function findDrift(facts: BalanceFacts, tiers: DriftTiers = {}): BalanceFinding {
  const high = subtractDecimals(facts.remoteCredits, facts.certainCredits);
  const low = subtractDecimals(high, facts.uncertainCredits);
  const none = { grantCredits: "0", driftCredits: "0", severity: "none" } as const;
  // At first sight nothing is assumed to be left that may be taken.
  if (facts.localCredits === null) return { ...none, afterCredits: low, cause: "first_sight" };
  if (liesBetween(facts.localCredits, low, high)) return { ...none, afterCredits: facts.localCredits, cause: "agrees" };
  if (facts.periodReset) {
    const after = nearest(facts.localCredits, low, high);
    return { ...none, afterCredits: after, grantCredits: subtractDecimals(after, facts.localCredits), cause: "period_reset" };
  }
  const grantCredits = facts.grantedMoreCredits ?? "0";
  const expected = addDecimals(facts.localCredits, grantCredits);
  const isGrant = compareDecimals(grantCredits, "0") !== 0;
  if (liesBetween(expected, low, high)) return { ...none, afterCredits: expected, grantCredits, cause: isGrant ? "grant" : "agrees" };
  const afterCredits = nearest(expected, low, high);
  const driftCredits = subtractDecimals(expected, afterCredits);
  const cause = compareDecimals(driftCredits, "0") > 0 ? "sink_took_more" : "sink_took_less";
  return { afterCredits, grantCredits, driftCredits, cause, severity: severityOf(driftCredits, tiers) };
}

function liesBetween(amount: DecimalText, low: DecimalText, high: DecimalText): boolean {
  return compareDecimals(addDecimals(amount, NOISE_CREDITS), low) >= 0 && compareDecimals(subtractDecimals(amount, NOISE_CREDITS), high) <= 0;
}

function nearest(amount: DecimalText, low: DecimalText, high: DecimalText): DecimalText {
  if (compareDecimals(amount, low) < 0) return low;
  return compareDecimals(amount, high) > 0 ? high : amount;
}

function severityOf(driftCredits: DecimalText, { warnCredits = "10", criticalCredits = "500" }: DriftTiers): DriftSeverity {
  const size = compareDecimals(driftCredits, "0") < 0 ? subtractDecimals("0", driftCredits) : driftCredits;
  if (compareDecimals(size, criticalCredits) >= 0) return "critical";
  return compareDecimals(size, warnCredits) >= 0 ? "warn" : "info";
}

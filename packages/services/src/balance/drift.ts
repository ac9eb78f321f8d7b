import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";

/** How much a person has to care about a drift; `critical` wakes somebody. */
type DriftSeverity = "none" | "info" | "warn" | "critical";
/** Why our balance and the sink's differ, as far as facts explain it. */
type BalanceCause = "first_sight" | "agrees" | "grant" | "debt_forgiven" | "period_reset" | "sink_took_more" | "sink_took_less";

/** Autumn's balances are doubles, rounded to 10 decimals: sums of many differ in their last digits. */
export const NOISE_CREDITS = "0.000001";

/** From which drift on somebody is told. */
export interface DriftTiers {
  /** Credits; default 10. */
  readonly warnCredits?: DecimalText;
  /** Credits; default 500. */
  readonly criticalCredits?: DecimalText;
}

/** What both sides say of one organization at one moment. Amounts are credits. */
export interface BalanceFacts {
  /** Ours; null at first sight. */
  readonly localCredits: DecimalText | null;
  readonly remoteCredits: DecimalText;
  /** Used and certainly not taken by the sink; and used and possibly taken. */
  readonly certainCredits: DecimalText;
  readonly uncertainCredits: DecimalText;
  /** How much more the sink grants than at the last reading; null where there was none. */
  readonly grantedMoreCredits: DecimalText | null;
  /** How much more of an overdraft the sink has let go of than at the last reading: it does not take a debt from credits that come later. */
  readonly forgivenMoreCredits: DecimalText;
  /** What may have been in the first reading or not, while that is the last that changed the balance; it was then taken off to be sure. */
  readonly firstSightDoubtCredits: DecimalText;
  /** The sink's period began anew since the last reading. */
  readonly periodReset: boolean;
  /** How far the sink's own sums may be off: the more, the more was granted and the more often it deducted. Default {@link NOISE_CREDITS}. */
  readonly noiseCredits?: DecimalText;
}

/** What follows from the facts. Amounts are credits. */
export interface BalanceFinding {
  /** What our balance has to be. */
  readonly afterCredits: DecimalText;
  readonly cause: BalanceCause;
  /** Explained parts of the change. before + grant + forgiven - drift = after. */
  readonly grantCredits: DecimalText;
  readonly forgivenCredits: DecimalText;
  /** Unexplained part, positive where we had too much. */
  readonly driftCredits: DecimalText;
  readonly severity: DriftSeverity;
}

/** Compares our balance with the bounds that the sink's justifies, corrects it to the nearer one, and names what was off (README.md). */
export function findDrift(facts: BalanceFacts, tiers: DriftTiers = {}): BalanceFinding {
  const high = subtractDecimals(facts.remoteCredits, facts.certainCredits);
  const low = subtractDecimals(high, facts.uncertainCredits);
  const none = { grantCredits: "0", forgivenCredits: "0", driftCredits: "0", severity: "none" } as const;
  const local = facts.localCredits;
  const noise = facts.noiseCredits ?? NOISE_CREDITS;
  // This is the org's first reading. What the sink may have taken or may still take counts as taken: the balance is rather too low.
  if (local === null) return { ...none, afterCredits: low, cause: "first_sight" };
  if (liesBetween(local, low, high, noise)) return { ...none, afterCredits: local, cause: "agrees" };
  if (facts.periodReset) {
    const after = nearest(local, low, high);
    return { ...none, afterCredits: after, grantCredits: subtractDecimals(after, local), cause: "period_reset" };
  }
  const explained = explanationsOf(facts).find(({ grantCredits, forgivenCredits }) =>
    liesBetween(addDecimals(local, grantCredits, forgivenCredits), low, high, noise),
  );
  if (explained) return { ...none, ...explained, afterCredits: addDecimals(local, explained.grantCredits, explained.forgivenCredits) };
  return unexplained(facts, local, { low, high }, tiers);
}

interface Explanation {
  readonly cause: BalanceCause;
  readonly grantCredits: DecimalText;
  readonly forgivenCredits: DecimalText;
}

/** What may have moved the balance without anything being wrong, the plainest first. */
function explanationsOf({ grantedMoreCredits, forgivenMoreCredits }: BalanceFacts): readonly Explanation[] {
  const grantCredits = grantedMoreCredits ?? "0";
  const explanations: Explanation[] = [];
  if (isNotZero(grantCredits)) explanations.push({ cause: "grant", grantCredits, forgivenCredits: "0" });
  if (isNotZero(forgivenMoreCredits)) explanations.push({ cause: "debt_forgiven", grantCredits, forgivenCredits: forgivenMoreCredits });
  return explanations;
}

function unexplained(
  facts: BalanceFacts,
  local: DecimalText,
  { low, high }: { readonly low: DecimalText; readonly high: DecimalText },
  tiers: DriftTiers,
): BalanceFinding {
  const grantCredits = facts.grantedMoreCredits ?? "0";
  const expected = addDecimals(local, grantCredits, facts.forgivenMoreCredits);
  const afterCredits = nearest(expected, low, high);
  const driftCredits = subtractDecimals(expected, afterCredits);
  const comesBackCredits = subtractDecimals("0", driftCredits);
  if (
    compareDecimals(comesBackCredits, "0") > 0 &&
    compareDecimals(comesBackCredits, addDecimals(facts.firstSightDoubtCredits, NOISE_CREDITS)) <= 0 &&
    isNotZero(facts.firstSightDoubtCredits)
  ) {
    // The sink had taken these credits before the first reading. That reading took them off once more, to be sure; so they come back.
    return {
      afterCredits,
      grantCredits: addDecimals(grantCredits, comesBackCredits),
      forgivenCredits: facts.forgivenMoreCredits,
      driftCredits: "0",
      cause: "first_sight",
      severity: "none",
    };
  }
  const cause = compareDecimals(driftCredits, "0") > 0 ? "sink_took_more" : "sink_took_less";
  return {
    afterCredits,
    grantCredits,
    forgivenCredits: facts.forgivenMoreCredits,
    driftCredits,
    cause,
    severity: severityOf(driftCredits, tiers),
  };
}

function isNotZero(amount: DecimalText): boolean {
  return compareDecimals(amount, "0") !== 0;
}

function liesBetween(amount: DecimalText, low: DecimalText, high: DecimalText, noise: DecimalText): boolean {
  return compareDecimals(addDecimals(amount, noise), low) >= 0 && compareDecimals(subtractDecimals(amount, noise), high) <= 0;
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

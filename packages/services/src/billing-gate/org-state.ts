import type { AccountMode, OrgState } from "@proliferate/db";
import { compareDecimals, type DecimalText, multiplyDecimals } from "@proliferate/shared/money";

/** All that an organization's state follows from. */
export interface OrgStateFacts {
  /** Default `settled`. What a kept account uses is nobody's debt, so it is always active. */
  readonly mode?: AccountMode;
  /** Null while the sink was never asked, or knows no credits of the org. */
  readonly balanceCredits: DecimalText | null;
  readonly plan: "paid" | "trial";
  /** By the database clock; true as well where there is no end on record. */
  readonly graceIsOver: boolean;
  readonly graceMs: number;
  /** How far below zero grace may go; not negative. */
  readonly overdraftCredits: DecimalText;
}

/** The state that follows from the facts. */
interface OrgTransition {
  readonly state: OrgState;
  /** Why it is exhausted; kept as it was when nothing changed. */
  readonly exhaustedBy?: "grace" | "overdraft" | "balance";
}

/** The state that the facts call for (README.md). Pure; the same facts lead to the same state, so repeating is safe. */
export function nextOrgState(state: OrgState, facts: OrgStateFacts): OrgTransition {
  const { balanceCredits } = facts;
  if (state === "suspended") return { state };
  if (facts.mode === "kept") return { state: "active" };
  if (balanceCredits === null) return { state };
  if (compareDecimals(balanceCredits, "0") > 0) return { state: facts.plan === "trial" ? "trial" : "active" };
  const isOverdrawn = compareDecimals(balanceCredits, multiplyDecimals(facts.overdraftCredits, "-1")) <= 0;
  switch (state) {
    case "active":
      if (isOverdrawn) return { state: "exhausted", exhaustedBy: "overdraft" };
      return facts.graceMs > 0 ? { state: "grace" } : { state: "exhausted", exhaustedBy: "balance" };
    case "grace":
      if (isOverdrawn) return { state: "exhausted", exhaustedBy: "overdraft" };
      return facts.graceIsOver ? { state: "exhausted", exhaustedBy: "grace" } : { state };
    case "exhausted":
      return { state };
    case "trial":
    case "unconfigured":
      return { state: "exhausted", exhaustedBy: "balance" };
  }
}

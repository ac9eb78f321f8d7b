import type { DecimalText } from "@proliferate/shared/money";

/** One purchase that the sink is asked for; `credits` is exact decimal text. */
interface TopUpCharge {
  readonly orgId: string;
  readonly planId: string;
  readonly credits: DecimalText;
  /** The same for every attempt at this pack; globally unique. */
  readonly idempotencyKey: string;
}

/**
 * What became of one attempt. Messages name no card and no person.
 * - `paid`: the provider says so itself.
 * - `declined`: certainly not paid; somebody has to do what `message` says.
 * - `unknown`: it may have been paid; so also after a duplicate of our own key.
 * - `unavailable`: certainly not paid, and worth trying again.
 */
export interface TopUpOutcome {
  readonly kind: "paid" | "declined" | "unknown" | "unavailable";
  readonly code?: string;
  readonly message?: string;
}

/** Who sells credits. */
export interface TopUpProvider {
  /** Makes one attempt; no retries of its own. Never throws for what the other side does; a throw counts as `unknown`. */
  charge(charge: TopUpCharge): Promise<TopUpOutcome>;
}

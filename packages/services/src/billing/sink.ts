import type { DecimalText } from "@proliferate/shared/money";

/** What is delivered: one immutable batch of one org. */
export interface Delivery {
  readonly batchId: string;
  readonly orgId: string;
  /** The same for every attempt at this batch; globally unique. */
  readonly idempotencyKey: string;
  /** More than zero, exact in 15 digits and 10 decimals. */
  readonly credits: DecimalText;
  readonly eventCount: number;
}

/** Facts for the audit of an attempt. Messages hold no key, no header and no customer data. */
interface Answer {
  /** HTTP status, where there was one. */
  readonly status?: number;
  readonly code?: string;
  readonly message?: string;
}

/**
 * What became of one attempt. Every kind says whether the sink may have taken the credits, because that decides if and
 * under which key the batch may be sent again.
 * - `delivered`: taken in full; `deductedCredits` is the sink's own statement.
 * - `unapplied`: accepted and remembered under this key, but not taken in full.
 * - `accepted`: queued by the sink; a later refusal as duplicate confirms it.
 * - `duplicate`: this key was used before; the caller knows by whom.
 * - `unknown`: no answer, or one that leaves open whether it was taken.
 * - `unavailable`: certainly not taken, and worth trying again without anybody changing anything.
 * - `parked`: certainly not taken, until somebody corrects what `message` names; others are not concerned.
 * - `dead`: certainly not taken, and never will be in this form.
 */
export type DeliveryOutcome =
  | (Answer & { readonly kind: "delivered"; readonly deductedCredits: DecimalText; readonly balanceAfter?: DecimalText })
  | (Answer & { readonly kind: "unapplied"; readonly deductedCredits: DecimalText; readonly balanceAfter?: DecimalText })
  | (Answer & { readonly kind: "accepted" | "duplicate" | "parked" | "dead" })
  | (Answer & { readonly kind: "unknown" | "unavailable"; readonly retryAfterMs?: number });

/** Where settled credits go. */
export interface SettlementSink {
  readonly name: string;
  /** Makes one attempt; no retries of its own. Never throws for what the other side does; a throw counts as `unknown`. */
  deliver(delivery: Delivery): Promise<DeliveryOutcome>;
}

import type { DecimalText } from "@proliferate/shared/money";

/** What is delivered: one immutable batch of one org. */
export interface Delivery {
  readonly batchId: string;
  readonly orgId: string;
  /** The same for every attempt at this batch; globally unique. */
  readonly idempotencyKey: string;
  /** More than zero, exact in 14 digits and 10 decimals. */
  readonly credits: DecimalText;
  readonly eventCount: number;
  /** What its events say of the models, for the customer's own charts; only where the sink asks for it. */
  readonly usageByModel?: readonly ModelUsage[];
}

/** The events of a batch that name one model. Not exact to the batch: what was carried in and out is in no model's share. */
export interface ModelUsage {
  readonly model: string;
  readonly credits: DecimalText;
  readonly requests: number;
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
 * - `shortfall`: taken in part or not at all, because the balance ended; nothing more will be taken under this key.
 * - `accepted`: queued by the sink; a later refusal as duplicate confirms it.
 * - `duplicate`: this key was used before; the caller knows by whom.
 * - `unknown`: no answer, or one that leaves open whether it was taken.
 * - `unavailable`: certainly not taken, and worth trying again without anybody changing anything.
 * - `parked`: certainly not taken, until somebody corrects what `message` names; others are not concerned.
 * - `dead`: certainly not taken, and never will be in this form.
 */
export type DeliveryOutcome =
  | (Answer & { readonly kind: "delivered"; readonly deductedCredits: DecimalText; readonly balanceAfter?: DecimalText })
  | (Answer & {
      readonly kind: "unapplied";
      readonly deductedCredits: DecimalText;
      readonly balanceAfter?: DecimalText;
      /** What it is instead, where the org had a balance before: that one is used up, and not filled by what is owed. */ readonly ifUsedUp?: "shortfall";
    })
  | (Answer & { readonly kind: "shortfall"; readonly deductedCredits: DecimalText; readonly balanceAfter?: DecimalText })
  | (Answer & { readonly kind: "accepted" | "duplicate" | "parked" | "dead" })
  | (Answer & { readonly kind: "unknown" | "unavailable"; readonly retryAfterMs?: number });

/** Where settled credits go. */
export interface SettlementSink {
  readonly name: string;
  /** True: deliveries name their usage by model. */
  readonly wantsUsageByModel?: boolean;
  /** Whether there is something to take from the org by now, after an answer of `no_balance`. Takes nothing; never throws: false where it cannot be told. */
  hasBalance?(orgId: string): Promise<boolean>;
  /** Makes one attempt; no retries of its own. Never throws for what the other side does; a throw counts as `unknown`. */
  deliver(delivery: Delivery): Promise<DeliveryOutcome>;
  /** A cheap call at the start: what somebody has to correct before anything can be delivered, or undefined. Never throws. */
  checkReady?(): Promise<DeliveryOutcome | undefined>;
  /** What the sink has on record, where it can be asked. */
  readonly ledger?: SettlementLedgerView;
}

/** One deduction on the sink's record: of a batch, or of a correction of it. */
export interface RecordedDeduction {
  readonly batchId: string;
  /** Negative: given back. */
  readonly credits: DecimalText;
}

/** A sum as the sink keeps it: rounded at each deduction, the more so the more was granted. */
export interface RecordedUsage {
  /** Which balances it is of, and since when: the same text as long as nothing began anew. */
  readonly balanceIds: string;
  readonly credits: DecimalText;
  readonly grantedCredits: DecimalText;
}

/** A deduction that brings the sink to what the ledger says of a batch; negative gives back. */
export interface Correction {
  readonly batchId: string;
  readonly orgId: string;
  readonly idempotencyKey: string;
  readonly credits: DecimalText;
}

/** The sink's side of the books, for comparing. Its calls throw when there is no answer. */
export interface SettlementLedgerView {
  /** Every deduction of the org since then that names a batch, in any order, perhaps older ones, too; undefined where the sink keeps no such list. */
  listDeductions(orgId: string, since: Date): Promise<readonly RecordedDeduction[] | undefined>;
  /**
   * The sink's own sum of what was taken from the org, kept apart from the list, so that the two bear witness to each other;
   * undefined where it has none of this org now. A sink without such a sum has no second witness: its list is all there is.
   */
  readUsage?(orgId: string): Promise<RecordedUsage | undefined>;
  correct(correction: Correction): Promise<DeliveryOutcome>;
}

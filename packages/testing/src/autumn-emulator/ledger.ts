import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { larger, roundBalance, smaller } from "./decimal.ts";

export type OverageBehavior = "cap" | "overflow" | "reject";

export interface Balance {
  granted: DecimalText;
  /** May be above `granted` after an overflow. */
  usage: DecimalText;
}

export interface Customer {
  readonly id: string;
  readonly createdAtMs: number;
  readonly balances: Map<string, Balance>;
}

/** One `track` that was applied, with what it really took. */
export interface TrackEvent {
  readonly id: string;
  readonly timestampMs: number;
  readonly customerId: string;
  readonly featureId: string;
  /** As asked for. */
  readonly value: DecimalText;
  /** As taken; differs from `value` when the balance was short (cap), or the refund larger than the usage. */
  readonly deducted: DecimalText;
  readonly idempotencyKey: string | undefined;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** Everything that changes the ledger; applied in order it gives the same ledger again. */
export type LedgerChange =
  | { readonly type: "customer"; readonly customerId: string; readonly atMs: number }
  | { readonly type: "balance"; readonly customerId: string; readonly featureId: string; readonly granted: DecimalText; readonly usage: DecimalText }
  | { readonly type: "track"; readonly event: TrackEvent };

export class Ledger {
  readonly customers = new Map<string, Customer>();
  readonly events: TrackEvent[] = [];
  readonly #record: (change: LedgerChange) => void;

  /** `record` is told of each change right before it is applied. */
  constructor(record: (change: LedgerChange) => void) {
    this.#record = record;
  }

  /** Idempotent. */
  createCustomer(customerId: string, atMs: number): Customer {
    return this.customers.get(customerId) ?? (this.#commit({ type: "customer", customerId, atMs }), this.#require(customerId));
  }

  setBalance(customerId: string, featureId: string, balance: Balance): void {
    this.#commit({ type: "balance", customerId, featureId, ...balance });
  }

  /** What a track of this value would take now; undefined when "reject" refuses it, or there is no balance to take from. */
  measure(customerId: string, featureId: string, value: DecimalText, overage: OverageBehavior): DecimalText | undefined {
    const balance = this.customers.get(customerId)?.balances.get(featureId);
    if (!balance) return undefined;
    const remaining = remainingOf(balance);
    if (compareDecimals(value, "0") < 0) return roundBalance(larger(value, subtractDecimals("0", balance.usage)));
    if (overage === "overflow") return roundBalance(value);
    if (overage === "reject" && compareDecimals(value, remaining) > 0) return undefined;
    return roundBalance(smaller(value, remaining));
  }

  applyTrack(event: TrackEvent): void {
    this.#commit({ type: "track", event });
  }

  /** Applies a change that was recorded before, without recording it again. */
  replay(change: LedgerChange): void {
    if (change.type === "customer") {
      this.customers.set(change.customerId, { id: change.customerId, createdAtMs: change.atMs, balances: new Map() });
    } else if (change.type === "balance") {
      this.#require(change.customerId).balances.set(change.featureId, { granted: change.granted, usage: change.usage });
    } else {
      this.events.push(change.event);
      const balance = this.customers.get(change.event.customerId)?.balances.get(change.event.featureId);
      if (balance) balance.usage = roundBalance(addDecimals(balance.usage, change.event.deducted));
    }
  }

  #commit(change: LedgerChange): void {
    this.#record(change);
    this.replay(change);
  }

  #require(customerId: string): Customer {
    const customer = this.customers.get(customerId);
    if (!customer) throw new Error(`the ledger has no customer ${customerId}`);
    return customer;
  }
}

/** Never negative: an overdrawn balance shows as nothing left. */
export function remainingOf(balance: Balance): DecimalText {
  return larger(subtractDecimals(balance.granted, balance.usage), "0");
}

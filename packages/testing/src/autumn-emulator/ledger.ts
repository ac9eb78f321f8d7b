import { randomUUID } from "node:crypto";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { applyPieces, type Balance, measure, type OverageBehavior, type Piece, resetDue } from "./balances.ts";
import { keepAmount } from "./decimal.ts";
import type { EmulatedSubscription } from "./subscriptions.ts";

export interface Customer {
  readonly id: string;
  readonly createdAtMs: number;
  /** Not kept over restarts. */
  readonly subscriptions: EmulatedSubscription[];
  /** By feature, oldest first. */
  readonly balances: Map<string, readonly Balance[]>;
}

/** One `track` that was accepted, whether it took anything or not. */
export interface TrackEvent {
  readonly id: string;
  readonly timestampMs: number;
  readonly customerId: string;
  readonly featureId: string;
  /** As asked for. */
  readonly value: DecimalText;
  /** What it really took, as Autumn states it; none where there was nothing to take from. */
  readonly pieces: readonly Piece[];
  /** Their sum. */
  readonly deducted: DecimalText;
  readonly idempotencyKey: string | undefined;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** Everything that changes the ledger; applied in order it gives the same ledger again. */
export type LedgerChange =
  | { readonly type: "customer"; readonly customerId: string; readonly atMs: number }
  /** All balances of a feature, as they are from here on. */
  | { readonly type: "balances"; readonly customerId: string; readonly featureId: string; readonly balances: readonly Balance[] }
  | { readonly type: "track"; readonly event: TrackEvent }
  | { readonly type: "event_lost"; readonly eventId: string };

export class Ledger {
  readonly customers = new Map<string, Customer>();
  /** Every track that was accepted. */
  readonly events: TrackEvent[] = [];
  /** Of these, what the list of events lacks. */
  readonly lostEventIds = new Set<string>();
  readonly #record: (change: LedgerChange) => void;

  /** `record` is told of each change right before it is applied. */
  constructor(record: (change: LedgerChange) => void) {
    this.#record = record;
  }

  /** Idempotent. */
  createCustomer(customerId: string, atMs: number): Customer {
    return this.customers.get(customerId) ?? (this.#commit({ type: "customer", customerId, atMs }), this.#require(customerId));
  }

  /** Another balance, beside those that are there: what was overdrawn of them is not taken from it. */
  addBalance(customerId: string, featureId: string, grant: Partial<Balance> & { readonly granted: DecimalText }): void {
    const balances = this.balancesOf(customerId, featureId);
    const balance: Balance = {
      id: `bal_${randomUUID()}`,
      planId: null,
      left: keepAmount(grant.granted),
      isUnlimited: false,
      resetsAtMs: null,
      periodMs: null,
      ...grant,
    };
    this.setBalances(customerId, featureId, [...balances, balance]);
  }

  setBalances(customerId: string, featureId: string, balances: readonly Balance[]): void {
    this.#commit({ type: "balances", customerId, featureId, balances });
  }

  balancesOf(customerId: string, featureId: string): readonly Balance[] {
    return this.customers.get(customerId)?.balances.get(featureId) ?? [];
  }

  /** What a track of this value would take now; undefined when "reject" refuses it. */
  measure(customerId: string, featureId: string, value: DecimalText, overage: OverageBehavior): readonly Piece[] | undefined {
    return measure(this.balancesOf(customerId, featureId), value, overage);
  }

  applyTrack(event: Omit<TrackEvent, "deducted">): TrackEvent {
    const whole = { ...event, deducted: addDecimals(...event.pieces.map((piece) => piece.value)) };
    this.#commit({ type: "track", event: whole });
    return whole;
  }

  /** The list forgets it; what it took stays taken. */
  loseEvent(eventId: string): void {
    this.#commit({ type: "event_lost", eventId });
  }

  /** Fills what is due, of everybody. */
  reset(nowMs: number): void {
    for (const customer of this.customers.values()) {
      for (const [featureId, balances] of customer.balances) {
        const after = balances.map((balance) => resetDue(balance, nowMs));
        if (after.some((balance, index) => balance !== balances[index])) this.setBalances(customer.id, featureId, after);
      }
    }
  }

  /** Applies a change that was recorded before, without recording it again. */
  replay(change: LedgerChange): void {
    switch (change.type) {
      case "customer":
        this.customers.set(change.customerId, { id: change.customerId, createdAtMs: change.atMs, subscriptions: [], balances: new Map() });
        return;
      case "balances":
        this.#put(change.customerId, change.featureId, change.balances);
        return;
      case "event_lost":
        this.lostEventIds.add(change.eventId);
        return;
      case "track": {
        const { customerId, featureId, pieces } = change.event;
        this.events.push(change.event);
        this.#put(customerId, featureId, applyPieces(this.balancesOf(customerId, featureId), pieces));
      }
    }
  }

  #put(customerId: string, featureId: string, balances: readonly Balance[]): void {
    const of = this.#require(customerId).balances;
    if (balances.length > 0) of.set(featureId, balances);
    else of.delete(featureId);
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

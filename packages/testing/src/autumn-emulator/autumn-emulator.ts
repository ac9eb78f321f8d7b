import type { DecimalText } from "@proliferate/shared/money";
import type { Card } from "./attach.ts";
import type { AutumnFault, TransportFault } from "./faults.ts";
import type { EmulatedFeature } from "./features.ts";
import type { TrackEvent } from "./ledger.ts";
import type { EmulatedSubscription } from "./subscriptions.ts";
import type { Body } from "./wire.ts";

export interface AutumnEmulatorOptions {
  /** Default 0: any free port. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** What `Authorization: Bearer` must carry. Default: any that begins with `am_`. */
  readonly secretKey?: string;
  /** The organization's features. Default `["credits"]`. */
  readonly features?: readonly string[];
  /** What the features are; default of each: metered and consumable. */
  readonly featureKinds?: Readonly<Record<string, EmulatedFeature>>;
  /** Every customer that is asked for exists and was granted this much, as where a plan is enabled for all; default: none is made up. */
  readonly newCustomerCredits?: DecimalText;
  /** The newest API version that is served. Default 2.4.0. */
  readonly maxApiVersion?: string;
  /** Keeps everything in this file over restarts, kill -9 included. Default: only in memory. */
  readonly stateFile?: string;
  /** Milliseconds since 1970; for keys that expire and timestamps in the future. Default Date.now. */
  readonly now?: () => number;
}

/** One `track`, `check` or other call as it came. */
export interface AutumnCall {
  readonly sequence: number;
  readonly method: string;
  readonly path: string;
  readonly customerId: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly body: Body;
  /** Undefined while it hangs, and when the connection was reset. */
  status: number | undefined;
  /** Autumn's code of an error answer. */
  code: string | undefined;
  /** What a `track` took; undefined if it was not applied. */
  deducted: DecimalText | undefined;
}

export interface AutumnEmulator {
  /** Without a trailing slash and without `/v1`. */
  readonly url: string;
  readonly port: number;
  /** Every authorized call, oldest first. */
  readonly calls: readonly AutumnCall[];
  /** Every track that was accepted, oldest first, whether it took anything or not. */
  readonly events: readonly TrackEvent[];
  /**
   * Creates the customer if needed and gives it another balance of its own, as `balances.create` does: gone when it is used up
   * to exactly nothing. Feature default `credits`.
   */
  grant(customerId: string, amount: DecimalText, featureId?: string): void;
  /** Creates the customer if needed and gives it another balance by a plan: one that stays at nothing, and may be full again every period, or unlimited. */
  grantPlan(customerId: string, plan: PlanGrant): void;
  /** Creates the customer if needed; it subscribes to these plans from here on. No balance comes with them. */
  subscribe(customerId: string, ...subscriptions: readonly EmulatedSubscription[]): void;
  /** Autumn dies before it has written its events down: the newest ones of the customer are gone from its list. What they took stays taken. */
  loseEvents(customerId: string, count: number): void;
  /** Autumn loses its cache before it has written its balances down: so much is back in the customer's balance. Its list of events stays. */
  loseDeductions(customerId: string, amount: DecimalText): void;
  /** What lists of events are answered with from here on; undefined: with events. `no_analytics` as the open server without its analytics store. */
  refuseLists(how: "no_analytics" | "forbidden" | undefined): void;
  /** Creates a customer without any balance. */
  createCustomer(customerId: string): void;
  /** Exact sum of what tracks took from the customer. */
  deducted(customerId: string, featureId?: string): DecimalText;
  /** What is left, never negative; undefined without a balance. */
  remaining(customerId: string, featureId?: string): DecimalText | undefined;
  /** How often a key was sent, and how often it was applied (0 or 1, if all is well). */
  countKey(idempotencyKey: string): { readonly sent: number; readonly applied: number };
  /** What charging this customer does from now on. Default good. */
  setCard(customerId: string, card: Card): void;
  /** Spoils the next tracks and attaches, one each. */
  failNext(...faults: readonly AutumnFault[]): void;
  /** Spoils every matching track (after the queue of `failNext`) until the returned function is called. */
  fail(matches: (call: AutumnCall) => boolean, fault: AutumnFault): () => void;
  /** Spoils the answer of every matching call, also of those that only read, until the returned function is called. */
  spoil(matches: (call: AutumnCall) => boolean, how: TransportFault): () => void;
  /** From here on nothing is spoiled. */
  unspoil(): void;
  /** Applies what 202 answers promised. */
  drainQueue(): void;
  /** Loses it. */
  dropQueue(): void;
  /** Cuts every connection, closes the state file. Idempotent. */
  stop(): Promise<void>;
}

export interface PlanGrant {
  readonly planId: string;
  readonly granted: DecimalText;
  readonly isUnlimited?: boolean;
  readonly resetsAtMs?: number;
  readonly periodMs?: number;
  readonly featureId?: string;
}

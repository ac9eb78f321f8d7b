import type { parkedDelayMs, retryDelayMs } from "./backoff.ts";
import type { SettlementSink } from "../sinks/index.ts";

/** The places between two durable steps; a test throws there to be a crash. */
type SettlementStep = "sealed" | "flagged" | "claimed" | "begun" | "answered" | "attempt_finished" | "recorded";

export interface SettlementOptions {
  /** Takes the credits of each batch. */
  readonly sink: SettlementSink;
  /** Only these orgs; default all. */
  readonly orgIds?: readonly string[];
  /** Attempts in flight at once, each of another org, besides those that are slow. Default 8. */
  readonly concurrency?: number;
  /** An attempt without an answer for so long is slow: another begins in its place. Default 2 s. */
  readonly slowAfterMs?: number;
  /** Slow attempts at once, for which others begin. Default 56. */
  readonly maxSlow?: number;
  /**
   * Takes over what is slow when everything else of the pass is done, so that the pass ends without it. It never rejects.
   * Without, the pass waits for it.
   */
  readonly detach?: (attempt: Promise<void>) => void;
  /** How long a claim holds. Default 60 s. */
  readonly leaseMs?: number;
  /** An attempt of which the sink says nothing for so long is given up as unknown; at most five sixths of the lease, which is the default. */
  readonly attemptTimeoutMs?: number;
  /** How long a sink may take to say whether an org has a balance. Default 5 s. */
  readonly askTimeoutMs?: number;
  /** No attempt begins later than this after the pass began; what is due then waits for the next. Default 50 s. */
  readonly passTimeoutMs?: number;
  /** How long after a first uncertain attempt the key may still be used. Default 22 h: Autumn remembers keys for 24 h, and clocks differ. */
  readonly keyMemoryMs?: number;
  /** So many orgs in a row, with nobody in between for whom the sink works, open its circuit. Default 5. */
  readonly circuitOrgs?: number;
  /** No attempt begins after it is aborted. */
  readonly signal?: AbortSignal;
  /** How long a batch waits after a failed attempt. Default: that of `backoff.ts`. */
  readonly retryDelayMs?: typeof retryDelayMs;
  /** How long a parked batch waits until it is tried again. Default: that of `backoff.ts`. */
  readonly parkedDelayMs?: typeof parkedDelayMs;
  /** Called after each durable step; a test throws here to be a crash. */
  readonly onStep?: (step: SettlementStep) => void;
  /** Told of every attempt that did not deliver, of claims that were lost, and of orgs that could not be sealed. */
  readonly onProblem?: (problem: SettlementProblem) => void;
}

export interface SettlementProblem {
  /** Null: the org has no new batch. */
  readonly batchId: string | null;
  readonly orgId: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly message: string | null;
}

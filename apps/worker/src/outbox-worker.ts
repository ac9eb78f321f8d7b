import type { DatabaseClient } from "@proliferate/db";
import { settle, type SettlementProblem, type SettlementResult } from "@proliferate/services/billing/settlement";
import type { SettlementSink } from "@proliferate/services/billing/sink";

export interface OutboxWorkerDeps {
  readonly db: DatabaseClient;
  readonly sink: SettlementSink;
  /** Told of each attempt that did not deliver. */
  readonly onProblem?: (problem: SettlementProblem) => void;
  /** Aborted when the process stops: no further attempt begins. */
  readonly signal?: AbortSignal;
}

/** One pass from open events to deducted credits. Idempotent, safe at any time and at once on several workers. */
export async function runOutbox(deps: OutboxWorkerDeps): Promise<SettlementResult> {
  const { db, ...options } = deps;
  return settle(db, options);
}

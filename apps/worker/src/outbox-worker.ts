import type { DatabaseClient } from "@proliferate/db";
import { type DeliveryFinding, reconcileDeliveries } from "@proliferate/services/comparison";
import { settle, type SettlementProblem, type SettlementResult } from "@proliferate/services/settlement";
import type { SettlementLedgerView, SettlementSink } from "@proliferate/services/sinks";

/** What one pass from open events to deducted credits needs. */
interface OutboxWorkerDeps {
  readonly db: DatabaseClient;
  readonly sink: SettlementSink;
  /** Only these orgs; default all. */
  readonly orgIds?: readonly string[];
  /** Told of each attempt that did not deliver. */
  readonly onProblem?: (problem: SettlementProblem) => void;
  /** Takes over attempts whose answers are slow, so that the pass ends without them. */
  readonly detach?: (attempt: Promise<void>) => void;
  /** Aborted when the process stops: no further attempt begins. */
  readonly signal?: AbortSignal;
}

/** One pass from open events to deducted credits. Idempotent, safe at any time and at once on several workers. */
export async function runOutbox(deps: OutboxWorkerDeps): Promise<SettlementResult> {
  const { db, ...options } = deps;
  return settle(db, options);
}

/** What comparing deliveries needs. */
interface DeliveryComparisonDeps {
  readonly db: DatabaseClient;
  readonly ledger: SettlementLedgerView;
  readonly onFinding: (finding: DeliveryFinding) => void;
}

const FULL_INTERVAL_MS = 60 * 60 * 1_000;
/** A day, and the memory of keys: older differences were found by an earlier pass, or are asked for with `billing reconcile`. */
const LOOK_BACK_MS = 26 * 60 * 60 * 1_000;

/**
 * The comparison of deliveries with the sink's record, as a job: each pass looks at what is open (unconfirmed, or past the
 * sink's memory of keys), its first and one an hour at everything of the last day. Decides what the record settles; proposes
 * corrections and makes none.
 */
export function createComparisonJob({ db, ledger, onFinding }: DeliveryComparisonDeps): () => Promise<object> {
  let comparedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const startedAt = performance.now();
    const openOnly = startedAt - comparedAt < FULL_INTERVAL_MS;
    const { findings, confirmed, redriven } = await reconcileDeliveries(db, ledger, {
      dryRun: false,
      corrections: "propose",
      lookBackMs: LOOK_BACK_MS,
      openOnly,
    });
    if (!openOnly) comparedAt = startedAt;
    findings.forEach(onFinding);
    return { confirmed, redriven, differences: findings.length };
  };
}

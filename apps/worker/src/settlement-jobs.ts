import { setTimeout as delay } from "node:timers/promises";
import type { DatabaseClient } from "@proliferate/db";
import type { Lifecycle, Registry } from "@proliferate/runtime";
import type { DeliveryFinding } from "@proliferate/services/comparison";
import type { SettlementSink } from "@proliferate/services/sinks";
import { startFlushLoop } from "./flush-worker.ts";
import { createComparisonJob, runOutbox } from "./outbox-worker.ts";
import { errorFacts, type ProblemLog } from "./problem-log.ts";

/** The job that moves events to the sink. */
export const OUTBOX = "settlement-outbox";
/** The job that compares deliveries with the sink's record. */
export const RECONCILE = "delivery-reconcile";

/** What is still under way after this is left to its lease: it is sent again under its key. */
const SLOW_STOP_MS = 3_000;

/** What the settlement's jobs need. */
interface SettlementJobsDeps {
  readonly db: DatabaseClient;
  readonly sink: SettlementSink;
  readonly lifecycle: Lifecycle;
  readonly problems: ProblemLog;
  /** Where this process counts. */
  readonly registry: Registry;
  readonly outboxIntervalMs: number;
  readonly reconcileIntervalMs: number;
  readonly syncSpend: () => Promise<object>;
  /** Runs a pass at intervals, on one of the workers. */
  readonly every: (name: string, intervalMs: number, pass: () => Promise<object>) => Promise<void>;
}

/** Starts what moves events to the sink: the regular pass, the flush ahead of it, the comparison afterwards. */
export async function startSettlementJobs(deps: SettlementJobsDeps): Promise<void> {
  const { db, sink, lifecycle, problems } = deps;
  const stopping = new AbortController();
  const onProblem = (problem: object): void => problems.report("settlement.undelivered", { ...problem });
  // A pass does not wait for slow attempts. They stand here until they end, so that an org whose sink answers slowly holds up no pass.
  const slow = new Set<Promise<void>>();
  const detach = (attempt: Promise<void>): void => {
    slow.add(attempt);
    void attempt.then(() => slow.delete(attempt));
  };
  const settleOrgs = async (orgIds?: readonly string[]): Promise<object> =>
    runOutbox({ db, sink, onProblem, detach, signal: stopping.signal, ...(orgIds && { orgIds }) });
  const flush = startFlushLoop({
    db,
    syncSpend: deps.syncSpend,
    settleOrgs,
    registry: deps.registry,
    onError: (error) => problems.report("settlement.flush_failed", errorFacts(error)),
  });
  // Parts stop in reverse order. First no attempt begins any more; then the flush that runs comes to its end.
  lifecycle.own("flush", flush);
  lifecycle.own("slow attempts", {
    stop: async () => Promise.race([Promise.all(slow), delay(SLOW_STOP_MS, undefined, { ref: false })]).then(() => undefined),
  });
  lifecycle.own("outbox", { stop: async () => stopping.abort() });

  // The feature is checked before the first delivery: a wrong one would take another amount than it is asked for. The sink's own time-out
  // bounds the check.
  await reportUnready(sink, problems);
  await deps.every(OUTBOX, deps.outboxIntervalMs, async () => settleOrgs());
  const { ledger } = sink;
  if (ledger === undefined) return;
  const onFinding = ({ kind, orgId, message }: DeliveryFinding): void =>
    problems.report("delivery.differs", { code: kind, org_id: orgId, message });
  await deps.every(RECONCILE, deps.reconcileIntervalMs, createComparisonJob({ db, ledger, onFinding }));
}

/** Says at the start which setting is wrong. The worker goes on: usage is metered and sealed whatever the sink says. */
async function reportUnready(sink: SettlementSink, problems: ProblemLog): Promise<void> {
  const refusal = await sink.checkReady?.();
  if (refusal) problems.report("sink.not_ready", { code: refusal.code, sink: sink.name, message: refusal.message });
}

import type { DatabaseClient, DeliveryFindingKind } from "@proliferate/db";
import { addDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { judgeByList, judgeByUsage, type Verdict } from "./compare-deliveries.ts";
import {
  beginCorrection,
  type ComparableBatch,
  confirmDelivery,
  finishCorrection,
  readComparableBatches,
  readStatedDeductions,
  recordFindings,
  redriveForgotten,
} from "./reconcile-deliveries-db.ts";
import type { DeliveryOutcome, SettlementLedgerView } from "./sink.ts";

export interface ReconcileDeliveriesOptions {
  /** Reads, compares and reports; changes nothing, here or there. */
  readonly dryRun: boolean;
  /** One org; default all. */
  readonly orgId?: string | undefined;
  /** `apply` deducts or gives back at the sink what the findings say. Default `propose`: only says so. */
  readonly corrections?: "propose" | "apply";
  /** Only batches that are unconfirmed or past the sink's memory of keys: cheap, so it can run often. Default false. */
  readonly openOnly?: boolean;
  /** How far back deliveries are compared. Default 7 days. */
  readonly lookBackMs?: number;
  /** How long the sink's list may lack a deduction; nothing is concluded from its absence before. Default 10 min. */
  readonly quietMs?: number;
  /** How long the sink remembers keys, with a margin. Default 22 h. */
  readonly keyMemoryMs?: number;
}

/** A difference between our books and the sink's. */
export interface DeliveryFinding {
  readonly orgId: string;
  readonly batchId: string;
  readonly kind: DeliveryFindingKind;
  /** What our books say that the sink took. */
  readonly expectedCredits: DecimalText;
  /** What the sink's record says; null where it does not say. */
  readonly foundCredits: DecimalText | null;
  /** What would make them agree: to be taken, or given back when negative; null where a person must decide. */
  readonly correctionCredits: DecimalText | null;
  /** Outcome of the correction, where one was made. */
  readonly correction: "applied" | "open" | "refused" | null;
  readonly message: string;
}

export interface ReconcileDeliveriesResult {
  readonly comparedBatches: number;
  /** Open or unconfirmed batches that the record shows as taken in full. In a dry run: would be confirmed. */
  readonly confirmed: number;
  /** Batches past the sink's memory of keys that it never took: due again under their next key. */
  readonly redriven: number;
  readonly findings: readonly DeliveryFinding[];
}

const LOOK_BACK_MS = 7 * 24 * 60 * 60 * 1_000;
const QUIET_MS = 10 * 60_000;
const KEY_MEMORY_MS = 22 * 60 * 60 * 1_000;
/** The sink's clock may be behind ours. */
const CLOCK_MARGIN_MS = 2 * 60 * 60 * 1_000;

/**
 * Compares what counts as delivered, and what nobody knows, with the sink's own record, org by org. Decides batches that are
 * past the sink's memory of keys by that evidence alone, never by sending them again to see. The ledger is never changed to
 * fit the sink: a difference is reported, and a correction under a key of its own brings the sink to what the ledger says.
 * An org whose record cannot be read is reported as `unresolved`; the others go on. May be repeated at any time.
 */
export async function reconcileDeliveries(db: DatabaseClient, view: SettlementLedgerView, options: ReconcileDeliveriesOptions): Promise<ReconcileDeliveriesResult> {
  const batches = await readComparableBatches(db, { lookBackMs: options.lookBackMs ?? LOOK_BACK_MS, quietMs: options.quietMs ?? QUIET_MS, orgId: options.orgId, openOnly: options.openOnly ?? false });
  const result = { comparedBatches: batches.length, confirmed: 0, redriven: 0, findings: [] as DeliveryFinding[] };
  for (const [orgId, ofOrg] of Map.groupBy(batches, (batch) => batch.orgId)) {
    const since = new Date(Math.min(...ofOrg.map((batch) => batch.firstSentAt.getTime())) - CLOCK_MARGIN_MS);
    const verdicts = await judgeOrg(db, view, { orgId, since, batches: ofOrg });
    const findings: DeliveryFinding[] = [];
    for (const { batch, verdict } of verdicts) {
      if (verdict.kind === "confirmed") result.confirmed += 1;
      if (verdict.kind === "not_taken") result.redriven += 1;
      if (!options.dryRun) await decide(db, batch, verdict);
      const finding = findingOf(batch, verdict);
      if (finding) findings.push(options.dryRun || options.corrections !== "apply" ? finding : await correct(db, view, finding, options));
    }
    if (!options.dryRun) await recordFindings(db, ofOrg.map((batch) => batch.batchId), findings.filter((finding) => finding.correction !== "applied"));
    result.findings.push(...findings);
  }
  return result;
}

interface Judged {
  readonly batch: ComparableBatch;
  readonly verdict: Verdict;
}

async function judgeOrg(
  db: DatabaseClient,
  view: SettlementLedgerView,
  { orgId, since, batches }: { readonly orgId: string; readonly since: Date; readonly batches: readonly ComparableBatch[] },
): Promise<readonly Judged[]> {
  const undecided = batches.filter((batch) => batch.expectedCredits === null || batch.isUnconfirmed);
  try {
    const deductions = await view.listDeductions(orgId, since);
    if (deductions) {
      const byBatch = Map.groupBy(deductions, (deduction) => deduction.batchId);
      return batches.map((batch) => ({ batch, verdict: judgeByList(batch, addDecimals(...(byBatch.get(batch.batchId) ?? []).map((one) => one.credits))) }));
    }
    const usage = await view.readUsage(orgId);
    const verdict = judgeByUsage(undecided, subtractDecimals(usage ?? "0", await readStatedDeductions(db, orgId)));
    return undecided.map((batch) => ({ batch, verdict: verdict.kind === "not_taken" && batch.isUnconfirmed ? judgeByList(batch, "0") : verdict }));
  } catch (error) {
    // The message of a foreign error may quote a key.
    const message = `the sink's record cannot be read (${(error as Error).name}); try again`;
    return undecided.map((batch) => ({ batch, verdict: { kind: "unresolved", foundCredits: null, message } }));
  }
}

/** Moves a batch whose fate the record settles. */
async function decide(db: DatabaseClient, batch: ComparableBatch, verdict: Verdict): Promise<void> {
  const wasTaken = verdict.kind === "confirmed" || (verdict.kind === "double_charge" && batch.expectedCredits === null);
  if (wasTaken) await confirmDelivery(db, batch.batchId);
  else if (verdict.kind === "not_taken") await redriveForgotten(db, batch.batchId);
}

function findingOf(batch: ComparableBatch, verdict: Verdict): DeliveryFinding | undefined {
  if (!("foundCredits" in verdict)) return undefined;
  return {
    orgId: batch.orgId,
    batchId: batch.batchId,
    kind: verdict.kind,
    expectedCredits: batch.expectedCredits ?? batch.credits,
    foundCredits: verdict.foundCredits,
    correctionCredits: "correction" in verdict ? verdict.correction : null,
    correction: null,
    message: `Batch ${batch.batchId} of ${batch.orgId}: ${verdict.message}.`,
  };
}

/** One correction, on record before it is made, with a key of its own. */
async function correct(db: DatabaseClient, view: SettlementLedgerView, finding: DeliveryFinding, options: ReconcileDeliveriesOptions): Promise<DeliveryFinding> {
  const { batchId, orgId, correctionCredits: credits } = finding;
  if (credits === null) return finding;
  const begun = await db.transaction().execute(async (tx) => beginCorrection(tx, { batchId, orgId, credits, keyMemoryMs: options.keyMemoryMs ?? KEY_MEMORY_MS }));
  if (begun === undefined) return { ...finding, correction: "open" };
  const outcome = await view
    .correct({ batchId, orgId, credits, idempotencyKey: begun.idempotencyKey })
    .catch((error: unknown): DeliveryOutcome => ({ kind: "unknown", code: "sink_failed", message: `The sink threw ${(error as Error).name}.` }));
  const end = endOf(outcome, begun.mayBeApplied);
  if (end !== "open") await finishCorrection(db, batchId, begun.sequence, { state: end, errorCode: outcome.code ?? null });
  return { ...finding, correction: end };
}

function endOf(outcome: DeliveryOutcome, mayBeApplied: boolean): "applied" | "open" | "refused" {
  switch (outcome.kind) {
    case "delivered":
      return "applied";
    case "duplicate":
      return mayBeApplied ? "applied" : "refused";
    // Taken in part: the next comparison tells what is left.
    case "unapplied":
    case "shortfall":
    case "parked":
    case "dead":
      return "refused";
    case "accepted":
    case "unknown":
    case "unavailable":
      return "open";
  }
}

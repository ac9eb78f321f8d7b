import type { DatabaseClient, DeliveryFindingKind } from "@proliferate/db";
import { addDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { readBillingNow } from "../balance/index.ts";
import {
  type DeliveryOutcome,
  isWithinNoise,
  noiseOfSum,
  type RecordedDeduction,
  type RecordedUsage,
  type SettlementLedgerView,
} from "../sinks/index.ts";
import { confirmByWitness, judgeByList, judgeByUsage, type SeenBalances, type Verdict, type Witness } from "./compare-deliveries.ts";
import {
  beginCorrection,
  type BooksRow,
  type ComparableBatch,
  confirmDelivery,
  finishCorrection,
  readBooks,
  type ComparisonRange,
  listComparableOrgs,
  readComparableBatches,
  readDecided,
  recordFindings,
  redriveForgotten,
  writeBaseline,
} from "./reconcile-deliveries-db.ts";

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
  /** Orgs compared side by side. Default 4. */
  readonly concurrency?: number;
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
const CONCURRENCY = 4;
const ORGS_A_PAGE = 500;
const QUIET_MS = 10 * 60_000;
const KEY_MEMORY_MS = 22 * 60 * 60 * 1_000;
/** The sink's clock may be behind ours. */
const CLOCK_MARGIN_MS = 2 * 60 * 60 * 1_000;

/**
 * Compares what counts as delivered, and what nobody knows, with the sink's own record, org by org. Decides batches that are
 * past the sink's memory of keys by that evidence alone, never by sending them again to see. What would move money, or send a
 * batch again, needs both of the sink's records: its list of deductions and its own sum of the org's usage. The ledger is never
 * changed to fit the sink: a difference is reported, and a correction under a key of its own brings the sink to what the ledger
 * says. Where the two records contradict each other that is `unresolved`: a person decides (`decide-batch.ts`).
 * An org whose record cannot be read is reported as `unresolved`; the others go on. May be repeated at any time.
 */
export async function reconcileDeliveries(
  db: DatabaseClient,
  view: SettlementLedgerView,
  options: ReconcileDeliveriesOptions,
): Promise<ReconcileDeliveriesResult> {
  const range: ComparisonRange = {
    lookBackMs: options.lookBackMs ?? LOOK_BACK_MS,
    quietMs: options.quietMs ?? QUIET_MS,
    orgId: options.orgId,
    openOnly: options.openOnly ?? false,
  };
  const results: ReconcileDeliveriesResult[] = [];
  let afterOrgId = "";
  for (;;) {
    const { orgIds, lastOrgId } = await listComparableOrgs(db, range, { afterOrgId, limit: ORGS_A_PAGE });
    results.push(...(await compareOrgs(db, view, orgIds, range, options)));
    if (lastOrgId === undefined) break;
    afterOrgId = lastOrgId;
  }
  return {
    comparedBatches: results.reduce((sum, one) => sum + one.comparedBatches, 0),
    confirmed: results.reduce((sum, one) => sum + one.confirmed, 0),
    redriven: results.reduce((sum, one) => sum + one.redriven, 0),
    findings: results.flatMap((one) => one.findings),
  };
}

/** Side by side, so that an org whose record is slow to read does not hold up the others'. Each org's batches are in memory while it is compared, no others. */
async function compareOrgs(
  db: DatabaseClient,
  view: SettlementLedgerView,
  orgIds: readonly string[],
  range: ComparisonRange,
  options: ReconcileDeliveriesOptions,
): Promise<readonly ReconcileDeliveriesResult[]> {
  const results: ReconcileDeliveriesResult[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < orgIds.length; index = next++) {
      const orgId = orgIds[index] as string;
      const batches = await readComparableBatches(db, orgId, range);
      if (batches.length > 0) results[index] = await compareOrg(db, view, orgId, batches, options);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(options.concurrency ?? CONCURRENCY, orgIds.length) }, lane));
  const failure = lanes.find((one) => one.status === "rejected");
  if (failure) throw failure.reason;
  return results.filter((result) => result !== undefined);
}

async function compareOrg(
  db: DatabaseClient,
  view: SettlementLedgerView,
  orgId: string,
  batches: readonly (ComparableBatch & { readonly firstSentAt: Date })[],
  options: ReconcileDeliveriesOptions,
): Promise<ReconcileDeliveriesResult> {
  const since = new Date(Math.min(...batches.map((batch) => batch.firstSentAt.getTime())) - CLOCK_MARGIN_MS);
  const comparedAt = await readBillingNow(db);
  const { verdicts, baseline } = await judgeOrg(db, view, { orgId, since, batches, comparedAt });
  const batchIds = batches.map((batch) => batch.batchId);
  const findings: DeliveryFinding[] = [];
  for (const { batch, verdict } of verdicts) {
    if (!options.dryRun) await decide(db, batch, verdict);
    const finding = findingOf(batch, verdict);
    if (finding)
      findings.push(
        options.dryRun || options.corrections !== "apply" ? finding : await correct(db, view, finding, { ...options, comparedAt }),
      );
  }
  if (!options.dryRun)
    await recordFindings(
      db,
      batchIds,
      findings.filter((finding) => finding.correction !== "applied"),
    );
  if (!options.dryRun && baseline) await writeBaseline(db, orgId, { ...baseline, comparedIds: batchIds });
  const count = (kind: Verdict["kind"]): number => verdicts.filter(({ verdict }) => verdict.kind === kind).length;
  return { comparedBatches: batches.length, confirmed: count("confirmed"), redriven: count("not_taken"), findings };
}

interface Judged {
  readonly batch: ComparableBatch;
  readonly verdict: Verdict;
}

interface OrgComparison {
  readonly verdicts: readonly Judged[];
  /** How far the sink's own sum is off while nothing else is amiss, and of which balances it is; undefined where that is not known just now. */
  readonly baseline?: { readonly usageOffset: DecimalText; readonly balanceIds: string };
}

interface OrgBatches {
  readonly orgId: string;
  readonly since: Date;
  readonly batches: readonly ComparableBatch[];
  /** Before the sink was asked, by the billing clock. */
  readonly comparedAt: string;
}

/** Of one org: what the sink's record says of each batch. Where it cannot be read, that is said of those that wait for it. */
async function judgeOrg(db: DatabaseClient, view: SettlementLedgerView, org: OrgBatches): Promise<OrgComparison> {
  try {
    const deductions = await view.listDeductions(org.orgId, org.since);
    const usage = await view.readUsage?.(org.orgId);
    const books = await readBooks(db, org.orgId, { comparedIds: org.batches.map((batch) => batch.batchId), since: org.comparedAt });
    if (deductions === undefined) return compareByUsage(org.batches, usage, books);
    return compareByList(org.batches, {
      deductions,
      usage,
      books,
      decided: await readDecided(
        db,
        org.batches.map((batch) => batch.batchId),
      ),
      hasSum: view.readUsage !== undefined,
    });
  } catch (error) {
    // The message of a foreign error may quote a key.
    const message = `the sink's record cannot be read (${(error as Error).name}); try again`;
    return {
      verdicts: org.batches.filter(isUndecided).map((batch) => ({ batch, verdict: { kind: "unresolved", foundCredits: null, message } })),
    };
  }
}

const isUndecided = (batch: ComparableBatch): boolean => batch.expectedCredits === null || batch.isUnconfirmed;

interface SinkRecord {
  readonly deductions: readonly RecordedDeduction[];
  readonly usage: RecordedUsage | undefined;
  readonly books: BooksRow;
  readonly decided: ReadonlyMap<string, string | null>;
  readonly hasSum: boolean;
}

function compareByList(batches: readonly ComparableBatch[], { deductions, usage, books, decided, hasSum }: SinkRecord): OrgComparison {
  const byBatch = Map.groupBy(deductions, (deduction) => deduction.batchId);
  const judged = batches.map((batch) => {
    const found = addDecimals(...(byBatch.get(batch.batchId) ?? []).map((one) => one.credits));
    const isLeft = batch.expectedCredits !== null && decided.get(batch.batchId) === found;
    const verdict: Verdict = isLeft ? { kind: "agrees" } : judgeByList(batch, found);
    // Batches that are too recent for the sink's list count with the amount of our books. So do those that a person left as they are.
    const countedCredits = isLeft || verdict.kind === "waits" || verdict.kind === "agrees" ? (batch.expectedCredits ?? found) : found;
    return { batch, found, verdict, countedCredits };
  });
  const accounted = addDecimals(books.otherCredits, ...judged.map((one) => one.countedCredits));
  const offset = usage && subtractDecimals(usage.credits, accounted);
  // The sink rounded each deduction: those on the list (repeats and corrections included) and those of older batches. So many roundings
  // may be in the sum.
  const witness = witnessOf({ hasSum, usage, books, offset, roundings: books.batchCount + deductions.length });
  const verdicts = judged.map(({ batch, found, verdict }) => ({ batch, verdict: confirmByWitness(batch, found, verdict, witness) }));
  const isSound = judged.every(({ verdict }) => verdict.kind === "agrees" || verdict.kind === "confirmed");
  return {
    verdicts,
    ...(isSound && !books.isMoving && usage && offset !== undefined && { baseline: { usageOffset: offset, balanceIds: usage.balanceIds } }),
  };
}

function witnessOf({
  hasSum,
  usage,
  books,
  offset,
  roundings,
}: {
  readonly hasSum: boolean;
  readonly usage: RecordedUsage | undefined;
  readonly books: BooksRow;
  readonly offset: DecimalText | undefined;
  readonly roundings: number;
}): Witness {
  if (!hasSum) return { kind: "none" };
  if (books.isMoving) return { kind: "moving" };
  if (usage === undefined || offset === undefined) return { kind: "missing" };
  const noiseCredits = noiseOfSum(usage.grantedCredits, roundings);
  return {
    kind: isWithinNoise(offset, books.usageOffset, noiseCredits) ? "agrees" : "differs",
    offCredits: subtractDecimals(offset, books.usageOffset),
    noiseCredits,
    balances: balancesSeen(usage, books),
  };
}

function balancesSeen(usage: RecordedUsage | undefined, { balanceIds }: BooksRow): SeenBalances {
  if (balanceIds === null) return "not_noted";
  return balanceIds === usage?.balanceIds ? "same" : "others";
}

/** Without a list the sum is the only witness: enough to tell whether what is open was taken, not enough to move money by. */
function compareByUsage(batches: readonly ComparableBatch[], usage: RecordedUsage | undefined, books: BooksRow): OrgComparison {
  const undecided = batches.filter(isUndecided);
  const certain = addDecimals(
    books.otherCredits,
    ...batches.filter((batch) => !isUndecided(batch)).map((batch) => batch.expectedCredits ?? "0"),
  );
  const offset = subtractDecimals(usage?.credits ?? "0", certain);
  if (undecided.length === 0)
    return { verdicts: [], ...(usage && !books.isMoving && { baseline: { usageOffset: offset, balanceIds: usage.balanceIds } }) };
  if (books.isMoving) return { verdicts: undecided.map((batch) => ({ batch, verdict: { kind: "waits" } })) };
  const verdict = judgeByUsage(undecided, {
    unexplained: subtractDecimals(offset, books.usageOffset),
    noise: noiseOfSum(usage?.grantedCredits ?? "0", books.batchCount),
    balances: balancesSeen(usage, books),
  });
  return {
    verdicts: undecided.map((batch) => ({
      batch,
      verdict: verdict.kind === "not_taken" && batch.isUnconfirmed ? unheard(batch) : verdict,
    })),
  };
}

function unheard(batch: ComparableBatch): Verdict {
  return {
    kind: "unresolved",
    foundCredits: "0",
    message: `the sink keeps no list of deductions, and its sum of usage lacks the ${batch.credits} credits that count as taken; look at the customer there, then billing decide`,
  };
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
async function correct(
  db: DatabaseClient,
  view: SettlementLedgerView,
  finding: DeliveryFinding,
  { comparedAt, keyMemoryMs = KEY_MEMORY_MS }: ReconcileDeliveriesOptions & { readonly comparedAt: string },
): Promise<DeliveryFinding> {
  const { batchId, orgId, correctionCredits: credits } = finding;
  if (credits === null) return finding;
  const begun = await db.transaction().execute(async (tx) => beginCorrection(tx, { batchId, orgId, credits, keyMemoryMs, comparedAt }));
  if (begun === undefined) return { ...finding, correction: "open" };
  const outcome = await view
    .correct({ batchId, orgId, credits, idempotencyKey: begun.idempotencyKey })
    .catch((error: unknown): DeliveryOutcome => ({
      kind: "unknown",
      code: "sink_failed",
      message: `The sink threw ${(error as Error).name}.`,
    }));
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
    // The sink took a part of the correction. The next comparison finds what is left of the difference.
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

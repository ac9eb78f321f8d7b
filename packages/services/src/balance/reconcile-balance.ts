import { type DatabaseClient, type DatabaseExecutor, isPermanentError } from "@proliferate/db";
import { isAppError } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText, normalizeDecimal, subtractDecimals } from "@proliferate/shared/money";
import { noiseOfSum } from "../sinks/index.ts";
import type { RateCard } from "../rates/index.ts";
import { endWaitForBalance } from "../settlement/index.ts";
import { ensureGatesOfSpenders, ensureOrg, lockGate, moveOrg, type OrgGateRow, readGate } from "../billing-gate/index.ts";
import { insertWebhookEvent } from "../webhook-events/index.ts";
import {
  beginReading,
  hasNewerReading,
  insertReconciliation,
  isKept,
  listKnownOrgs,
  listOrgsToReconcile,
  lockUnposted,
  readFirstSightDoubt,
  type ReadingStart,
  readUnposted,
  type UnpostedRow,
  writeBalance,
  writeRates,
  writeReadAgain,
  writeReading,
  writeReadingProblem,
  writeReconcileWanted,
} from "./db.ts";
import { type BalanceFinding, type DriftTiers, findDrift, NOISE_CREDITS } from "./drift.ts";
import type { RemoteBalance, RemoteBalances } from "./remote-balance.ts";

/** Why a balance is compared. */
export type ReconcileTrigger = "first_sight" | "scheduled" | "on_demand" | "top_up";

/** How one balance is compared. */
interface ReconcileOptions {
  /** Tells what the sink has for an organization. */
  readonly remote: RemoteBalances;
  /** What spend costs where no rate card says so. */
  readonly rate: RateCard;
  /** From which difference on a drift is a warning or an alarm. Default: those of `drift.ts`. */
  readonly tiers?: DriftTiers;
}

/** What comparing one balance found and did. */
export type ReconcileReport =
  | (BalanceFinding & {
      readonly orgId: string;
      readonly outcome: "reconciled";
      readonly beforeCredits: DecimalText | null;
      readonly remoteCredits: DecimalText;
      readonly unpostedCredits: DecimalText;
      readonly uncertainCredits: DecimalText;
    })
  /**
   * The sink has no credits of the org, or could not be asked, or a later reading was booked before this one was, or the account is kept
   * and has none; the balance is as it was.
   */
  | { readonly orgId: string; readonly outcome: "unknown" | "failed" | "outdated" | "kept"; readonly problem: string };

/** A reading that failed is tried again after this long. */
const RETRY_MS = 60_000;

/** Asks for a reconciliation of the org at the worker's next tick. Idempotent; a request is lost by nothing but being served. */
export async function requestReconcile(db: DatabaseClient, orgId: string): Promise<void> {
  await ensureOrg(db, orgId);
  await writeReconcileWanted(db, orgId);
}

/**
 * Reads the org's balance at the sink and brings ours to what it justifies: remote minus what is not posted, never a blind
 * overwrite (README.md). Of a kept account nothing is asked. The sink is asked outside of any transaction; balance, audit row, state and webhook event change in
 * one. Never throws for what the sink does or says, a reading that no row can hold included: that is a report, and the balance stays. Repeating it changes nothing. Of readings that
 * overlap only the one that began last is booked: an older one would take back what was granted in between, and asks for a new one instead.
 */
export async function reconcileBalance(
  db: DatabaseClient,
  orgId: string,
  options: ReconcileOptions & { readonly trigger: ReconcileTrigger },
): Promise<ReconcileReport> {
  await ensureOrg(db, orgId);
  if (await isKept(db, orgId)) return keptReport(orgId);
  const start = await beginReading(db, orgId);
  const reading = await readRemote(options.remote, orgId);
  if (reading.kind !== "known") return noteProblem(db, orgId, reading.kind, reading.problem);
  // The org has a balance now, so its batches need not wait on. This is a transaction of its own: a worker that records an outcome locks
  // the org's account and back-off as well, and the two could deadlock.
  if (compareDecimals(reading.remainingCredits, "0") > 0) await endWaitForBalance(db, orgId);
  return bookReading(db, orgId, { reading, start }, options).catch((error: unknown) => {
    // The same reading would fail in each pass. Without this note the org would stay first in line, and those behind it would never be read.
    if (isPermanentError(error)) return noteProblem(db, orgId, "failed", "what the sink says of it cannot be put on record");
    throw error;
  });
}

const keptReport = (orgId: string): ReconcileReport => ({
  orgId,
  outcome: "kept",
  problem: "what it uses is kept: it has no balance at the sink",
});

async function noteProblem(db: DatabaseClient, orgId: string, outcome: "unknown" | "failed", problem: string): Promise<ReconcileReport> {
  await writeReadingProblem(db, orgId, problem, RETRY_MS);
  return { orgId, outcome, problem };
}

async function bookReading(
  db: DatabaseClient,
  orgId: string,
  { reading, start }: { readonly reading: KnownBalance; readonly start: ReadingStart },
  options: ReconcileOptions & { readonly trigger: ReconcileTrigger },
): Promise<ReconcileReport> {
  const { readAt } = start;
  return db.transaction().execute(async (tx) => {
    await lockGate(tx, orgId);
    // The account's mode became `kept` while the sink was asked.
    if (await isKept(tx, orgId)) return keptReport(orgId);
    if (await hasNewerReading(tx, orgId, readAt)) {
      await writeReconcileWanted(tx, orgId);
      return { orgId, outcome: "outdated", problem: "another reading began later and was booked first" };
    }
    const gate = (await readGate(tx, orgId)) as OrgGateRow;
    const unposted = (await lockUnposted(tx, orgId, start)) as UnpostedRow;
    const report = compare(orgId, { gate, unposted, reading, doubtCredits: await readFirstSightDoubt(tx, orgId) }, options.tiers);
    if (compareDecimals(report.afterCredits, unposted.balance_credits ?? "0") !== 0 || unposted.balance_credits === null)
      await writeBalance(tx, orgId, report.afterCredits);
    await writeReading(tx, {
      orgId,
      readAt,
      grantedCredits: reading.grantedCredits,
      forgivenCredits: reading.forgivenCredits,
      nextResetAt: reading.nextResetAt,
      subscription: reading.subscription,
    });
    if (report.beforeCredits === null && compareDecimals(report.uncertainCredits, "0") > 0) await writeReadAgain(tx, orgId, RETRY_MS);
    await writeRates(tx, orgId, options.rate);
    if (report.cause !== "agrees") await recordReport(tx, report, options.trigger);
    await moveOrg(tx, orgId);
    return report;
  });
}

/** What {@link reconcileBalance} would do, and nothing is written. */
async function previewReconcile(
  db: DatabaseClient,
  orgId: string,
  options: Pick<ReconcileOptions, "remote" | "tiers">,
): Promise<ReconcileReport> {
  if (await isKept(db, orgId)) return keptReport(orgId);
  const start = await beginReading(db, orgId);
  const reading = await readRemote(options.remote, orgId);
  if (reading.kind !== "known") return { orgId, outcome: reading.kind, problem: reading.problem };
  const [gate, unposted, doubtCredits] = [
    await readGate(db, orgId),
    await readUnposted(db, orgId, start),
    await readFirstSightDoubt(db, orgId),
  ];
  return compare(orgId, { gate, unposted, reading, doubtCredits }, options.tiers);
}

/** How the balances that are due are compared. */
interface DueReconcileOptions extends ReconcileOptions {
  /** Orgs in one pass. Default 100. */
  readonly limit?: number;
  /** Default 24 h. */
  readonly everyMs?: number;
  /** For orgs without credits: how soon bought ones are seen. Default 60 s. */
  readonly outOfCreditsMs?: number;
  /** Told of each organization, right after it was compared. */
  readonly onReport?: (report: ReconcileReport) => void;
}

/** Reconciles the orgs that are due, one after the other: the sink's general limit is 25 calls a second. Returns how many. */
export async function reconcileDueOrgs(db: DatabaseClient, options: DueReconcileOptions): Promise<number> {
  await ensureGatesOfSpenders(db);
  const due = await listOrgsToReconcile(db, {
    limit: options.limit ?? 100,
    everyMs: options.everyMs ?? 24 * 60 * 60 * 1_000,
    outOfCreditsMs: options.outOfCreditsMs ?? 60_000,
  });
  for (const { org_id: orgId, trigger } of due) {
    const report = await reconcileBalance(db, orgId, { ...options, trigger });
    options.onReport?.(report);
  }
  return due.length;
}

/** Reconciles one org, or every one that is known; with `dryRun` it only says what it would do, and writes nothing. */
export async function reconcileBalances(
  db: DatabaseClient,
  options: ReconcileOptions & { readonly orgId?: string; readonly dryRun?: boolean },
): Promise<readonly ReconcileReport[]> {
  const orgIds = options.orgId === undefined ? await listKnownOrgs(db) : [options.orgId];
  const reports: ReconcileReport[] = [];
  for (const orgId of orgIds) {
    reports.push(
      options.dryRun ? await previewReconcile(db, orgId, options) : await reconcileBalance(db, orgId, { ...options, trigger: "on_demand" }),
    );
  }
  return reports;
}

async function readRemote(
  remote: RemoteBalances,
  orgId: string,
): Promise<RemoteBalance | { readonly kind: "failed"; readonly problem: string }> {
  try {
    return await remote.readBalance(orgId);
  } catch (error) {
    if (isAppError(error)) return { kind: "failed", problem: error.message };
    throw error;
  }
}

type KnownBalance = Extract<RemoteBalance, { kind: "known" }>;

function compare(
  orgId: string,
  {
    gate,
    unposted,
    reading,
    doubtCredits,
  }: {
    readonly gate: OrgGateRow | undefined;
    readonly unposted: UnpostedRow | undefined;
    readonly reading: KnownBalance;
    readonly doubtCredits: DecimalText;
  },
  tiers: DriftTiers | undefined,
): Extract<ReconcileReport, { outcome: "reconciled" }> {
  const last = gate?.remote_granted_credits ?? null;
  const lastReset = gate?.remote_next_reset_at ?? null;
  const facts = {
    localCredits: unposted?.balance_credits == null ? null : normalizeDecimal(unposted.balance_credits),
    remoteCredits: reading.remainingCredits,
    certainCredits: unposted?.certain_credits ?? "0",
    uncertainCredits: unposted?.uncertain_credits ?? "0",
    grantedMoreCredits: last === null ? null : subtractDecimals(reading.grantedCredits, last),
    forgivenMoreCredits: forgivenMore(reading.forgivenCredits, gate?.remote_forgiven_credits ?? "0"),
    firstSightDoubtCredits: doubtCredits,
    noiseCredits: noiseOfSum(reading.grantedCredits, unposted?.batch_count ?? 0),
    periodReset: lastReset !== null && reading.nextResetAt !== null && reading.nextResetAt.getTime() !== lastReset.getTime(),
  };
  return {
    ...findDrift(facts, tiers),
    orgId,
    outcome: "reconciled",
    beforeCredits: facts.localCredits,
    remoteCredits: facts.remoteCredits,
    unpostedCredits: normalizeDecimal(facts.certainCredits),
    uncertainCredits: normalizeDecimal(facts.uncertainCredits),
  };
}

/** Never less than nothing: what was let go of is forgotten with the balance that it was of. Far-off digits are Autumn's rounding. */
function forgivenMore(now: DecimalText, before: DecimalText): DecimalText {
  const more = subtractDecimals(now, before);
  return compareDecimals(more, NOISE_CREDITS) > 0 ? more : "0";
}

async function recordReport(
  tx: DatabaseExecutor,
  report: Extract<ReconcileReport, { outcome: "reconciled" }>,
  trigger: ReconcileTrigger,
): Promise<void> {
  await insertReconciliation(tx, {
    org_id: report.orgId,
    trigger,
    before_credits: report.beforeCredits,
    remote_credits: report.remoteCredits,
    unposted_credits: report.unpostedCredits,
    uncertain_credits: report.uncertainCredits,
    after_credits: report.afterCredits,
    grant_credits: report.grantCredits,
    forgiven_credits: report.forgivenCredits,
    drift_credits: report.driftCredits,
    severity: report.severity,
    cause: report.cause,
  });
  if (report.severity !== "warn" && report.severity !== "critical") return;
  const payload = {
    drift_credits: report.driftCredits,
    severity: report.severity,
    cause: report.cause,
    balance_credits: report.afterCredits,
  };
  await insertWebhookEvent(tx, { type: "balance.drift", orgId: report.orgId, key: undefined, payload });
}

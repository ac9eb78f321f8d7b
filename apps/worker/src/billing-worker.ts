import type { DatabaseClient } from "@proliferate/db";
import { auditCompleteness, flushRecentSpend, type SpendSyncResult, sweepSpend, syncRecentSpend } from "@proliferate/services/billing";
import type { RateCard } from "@proliferate/services/rates";
import { importLateRows, importSource, type LiteLLMSpendApiOptions } from "@proliferate/services/import";
import { maintainPartitions, type PartitionUpkeep } from "@proliferate/services/ledger";
import { readMark, returnPass, takePass, writeMark } from "@proliferate/services/passes";
import { deleteOldManagementActions } from "@proliferate/access/audit";
import { deleteEndedCounters } from "@proliferate/access/limits";
import { areKeysOurs, deleteExpiredKeys } from "@proliferate/access/keys";
import { deleteOldSessions, endForgottenSessions } from "@proliferate/services/sessions";

/** What metering needs. */
interface BillingWorkerDeps {
  readonly db: DatabaseClient;
  /** Of rows that no rate card covers. */
  readonly rate: RateCard;
  /** Where spend rows are read over REST; without it the source's tables are in reach of `db`. */
  readonly spendApi?: LiteLLMSpendApiOptions | undefined;
  /** Between two passes that look at rows of any age. Default one hour. */
  readonly sweepIntervalMs?: number;
  /** How long an expired key, and an ended session, is kept; 0: for ever. Default 30 and 90. */
  readonly keyRetentionDays?: number;
  readonly sessionRetentionDays?: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** A request may take ten minutes, and its row a while more. */
const IMPORT_MS = 15 * MINUTE_MS;
const IMPORT_ON_SWEEP_MS = 24 * HOUR_MS;
/** Once a day rows are looked for that came in later still: a spool that was emptied days afterwards, a month at most. */
const LATE_IMPORT = "spend-import-late";
const LATE_IMPORT_MS = 31 * 24 * HOUR_MS;
/** Rows younger than this may still be on their way to the ledger. */
const AUDIT_DELAY_MS = 5 * MINUTE_MS;
const AUDIT_RANGE_MS = 48 * HOUR_MS;

/** What came in the last moments, for whoever cannot wait for the next pass: reads nothing that is older than what is in flight. */
export async function flushLLMSpend(deps: BillingWorkerDeps): Promise<SpendSyncResult> {
  await importRows(deps, false);
  return flushRecentSpend(deps.db, rateOf(deps));
}

const SWEEP = "spend-sweep";

/**
 * What is new, as a job: one pass from spend rows to billing events, safe at any time and at once on several workers; once each `sweepIntervalMs`, on
 * one of the workers, the last day and a part of the history besides. Over REST, the rows since 15 minutes before the newest known
 * one are brought in first, or 24 h before it, and once a day those of a month of which the source has more.
 */
export function createSpendSyncJob(deps: BillingWorkerDeps): () => Promise<SpendSyncResult> {
  const sweepIntervalMs = deps.sweepIntervalMs ?? HOUR_MS;
  return async () => {
    const sweeps = await takePass(deps.db, SWEEP, sweepIntervalMs);
    try {
      await importRows(deps, sweeps);
      return await (sweeps ? sweepSpend : syncRecentSpend)(deps.db, rateOf(deps));
    } catch (error) {
      if (sweeps) await returnPass(deps.db, SWEEP).catch(() => undefined);
      throw error;
    }
  };
}

const rateOf = ({ rate }: BillingWorkerDeps): { readonly rate: RateCard } => ({ rate });

async function importRows({ db, spendApi }: BillingWorkerDeps, sweeps: boolean): Promise<void> {
  if (spendApi === undefined) return;
  await importSource(db, spendApi, { lookBackMs: sweeps ? IMPORT_ON_SWEEP_MS : IMPORT_MS });
  if (!sweeps || !(await takePass(db, LATE_IMPORT, 24 * HOUR_MS))) return;
  const now = Date.now();
  try {
    await importLateRows(db, spendApi, { from: new Date(now - LATE_IMPORT_MS), to: new Date(now - IMPORT_ON_SWEEP_MS) });
  } catch (error) {
    await returnPass(db, LATE_IMPORT).catch(() => undefined);
    throw error;
  }
}

/** What one pass of ledger care found and did. */
interface LedgerCareResult extends PartitionUpkeep {
  readonly missingRows: number;
  readonly healedRows: number;
  /** Keys that expired and sessions that ended long ago, deleted. */
  readonly deletedKeys: number;
  readonly deletedSessions: number;
}

const AUDIT = "ledger-audit";
const WHOLE_AUDIT = "ledger-audit-of-two-days";

/**
 * The ledger's own upkeep: partitions of the months to come, what was used since the last such pass compared with the source and healed
 * (once a day the last two days), old keys and sessions put away. Each statement reads an hour of usage. Idempotent.
 */
export async function careForLedger(deps: BillingWorkerDeps): Promise<LedgerCareResult> {
  const { db } = deps;
  const upkeep = await maintainPartitions(db);
  const to = Date.now() - AUDIT_DELAY_MS;
  const earliest = to - AUDIT_RANGE_MS;
  const mark = await readMark(db, AUDIT);
  const isWhole = await takePass(db, WHOLE_AUDIT, 24 * HOUR_MS);
  const found = { missingRows: 0, healedRows: 0 };
  for (let from = isWhole || mark === undefined ? earliest : Math.max(earliest, new Date(mark).getTime()); from < to; from += HOUR_MS) {
    const audit = await auditCompleteness(db, {
      from: new Date(from),
      to: new Date(Math.min(from + HOUR_MS, to)),
      heal: true,
      rate: deps.rate,
    });
    found.missingRows += audit.missingRows;
    found.healedRows += audit.healedRows;
  }
  await writeMark(db, AUDIT, new Date(to).toISOString());
  return { ...upkeep, ...found, ...(await putAway(db, deps)) };
}

const DAY_MS = 24 * HOUR_MS;
const CLEANUP = { rows: 5_000, rounds: 20 } as const;
/** A session whose only key expired a week ago will not be resumed. */
const FORGOTTEN_MS = 7 * DAY_MS;
/** What the proxy's management API changed is on record for so long. */
const MANAGEMENT_ACTION_DAYS = 365;

async function putAway(
  db: DatabaseClient,
  deps: BillingWorkerDeps,
): Promise<{ readonly deletedKeys: number; readonly deletedSessions: number }> {
  const { keyRetentionDays = 30, sessionRetentionDays = 90 } = deps;
  await repeat((limit) => endForgottenSessions(db, { olderThanMs: FORGOTTEN_MS, limit }));
  // A request may be settled after the window of its limit has ended. One day later none is left, and the window's counter may go.
  await repeat((limit) => deleteEndedCounters(db, { olderThanMs: DAY_MS, limit }));
  await repeat((limit) => deleteOldManagementActions(db, { olderThanMs: MANAGEMENT_ACTION_DAYS * DAY_MS, limit }));
  const keysAreOurs = keyRetentionDays > 0 && (await areKeysOurs(db));
  const deletedKeys = keysAreOurs ? await repeat((limit) => deleteExpiredKeys(db, { olderThanMs: keyRetentionDays * DAY_MS, limit })) : 0;
  const deletedSessions =
    sessionRetentionDays > 0 ? await repeat((limit) => deleteOldSessions(db, { olderThanMs: sessionRetentionDays * DAY_MS, limit })) : 0;
  return { deletedKeys, deletedSessions };
}

/** Until there is no more, or enough was done for now: the next hour goes on. */
async function repeat(statement: (limit: number) => Promise<number>): Promise<number> {
  let done = 0;
  for (let round = 0; round < CLEANUP.rounds; round += 1) {
    const rows = await statement(CLEANUP.rows);
    done += rows;
    if (rows < CLEANUP.rows) break;
  }
  return done;
}

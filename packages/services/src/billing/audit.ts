import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, CREDITS_PER_USD, type DecimalText } from "@proliferate/shared/money";
import {
  type AuditRange,
  countSourceRows,
  type GapRow,
  readBillingNow,
  readGaps,
  recordAudit,
  restoreDeletedAdjustments,
  restoreDeletedEvents,
} from "./audit-db.ts";
import type { RateCard } from "../rates/index.ts";
import { findChunkEnd } from "./db.ts";
import { clearAlert, lockIngest, raiseAlert, readOpenAlerts } from "../ledger/index.ts";
import { syncSpendRange } from "./spend-sync.ts";

interface AuditOptions extends AuditRange {
  /** Bills what was never billed, adjusts amounts, and puts deleted events and adjustments back. Default false: only tells. */
  readonly heal?: boolean;
  /** Of rows that no rate card covers. Default 3 x 100. */
  readonly rate?: RateCard;
}

export interface AuditResult {
  readonly auditId: string;
  readonly comparedRows: number;
  /** As found, before healing. Empty: the ledger holds all of the source. */
  readonly gaps: readonly GapRow[];
  readonly missingRows: number;
  readonly missingUsd: DecimalText;
  /** Of the missing rows. */
  readonly healedRows: number;
}

/** Spend rows of one statement. */
const SLICE_ROWS = 500;
const DAY_MS = 24 * 60 * 60 * 1_000;
/** As the environment's default; only rows from before the first rate card meet it. */
const FALLBACK_RATE: RateCard = { markup: "3", creditsPerUsd: CREDITS_PER_USD };

/**
 * Compares each spend row that began in the range with its event, by org and day, and keeps the outcome. What is found after
 * healing stands as an alert, until an audit finds it gone. Idempotent; may run beside the sync, whose rows of the moment it may tell as missing: let `to`
 * lie a few minutes back. Throws `invalid_request` for a range that is empty or no range.
 */
export async function auditCompleteness(db: DatabaseClient, options: AuditOptions): Promise<AuditResult> {
  const range = { from: options.from, to: options.to };
  if (!(range.from < range.to)) throw new AppError("invalid_request", "The audit's `from` must be a date before its `to`.");
  const startedAt = await readBillingNow(db);
  const gaps = (await hasGaps(db, range)) ? await readGaps(db, range) : [];
  const missingRows = countMissing(gaps);
  let rest = gaps;
  if (options.heal && missingRows > 0) {
    await healRange(db, range, options.rate ?? FALLBACK_RATE);
    rest = await readGaps(db, range);
  }
  const found = {
    comparedRows: await countSourceRows(db, range),
    missingRows,
    missingUsd: addDecimals("0", ...gaps.map((gap) => gap.missing_usd)),
    healedRows: missingRows - countMissing(rest),
  };
  const auditId = await recordAudit(db, { ...range, startedAt, ...found, gaps: gaps.length });
  for (const gap of rest) await reportGap(db, gap);
  await clearClosedGaps(db);
  return { auditId, ...found, comparedRows: Number.parseInt(found.comparedRows, 10), gaps };
}

/** Looks through the range by slices, as one statement over all of it takes longer the more was used. Where something is missing, the caller looks at it whole. */
async function hasGaps(db: DatabaseClient, range: AuditRange): Promise<boolean> {
  for (let { from } = range; from < range.to;) {
    const to = await findSliceEnd(db, { from, to: range.to });
    if ((await readGaps(db, { from, to })).length > 0) return true;
    from = to;
  }
  return false;
}

/** Where a slice of {@link SLICE_ROWS} rows ends, in whole milliseconds, as the source has them; the range's end when fewer are left. */
async function findSliceEnd(db: DatabaseClient, range: AuditRange): Promise<Date> {
  const last = await findChunkEnd(db, { from: range.from.toISOString(), to: range.to.toISOString() }, SLICE_ROWS);
  return new Date(Math.min(range.to.getTime(), Date.parse(last.endsWith("Z") ? last : `${last.replace(" ", "T")}Z`) + 1));
}

async function healRange(db: DatabaseClient, range: AuditRange, rate: RateCard): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await lockIngest(tx);
    await restoreDeletedEvents(tx, range, rate);
    await restoreDeletedAdjustments(tx, range);
  });
  await syncSpendRange(db, { from: range.from.toISOString(), to: range.to.toISOString() }, { rate });
}

async function reportGap(db: DatabaseClient, gap: GapRow): Promise<void> {
  const rows = countRows(gap);
  const message = `${rows} spend rows of organization ${JSON.stringify(gap.org_id)} on ${gap.day} are not in the ledger as the source has them: ${gap.missing_usd} USD.`;
  const facts = { orgId: gap.org_id, day: gap.day, missingUsd: gap.missing_usd, example: gap.examples[0] ?? "" };
  await raiseAlert(db, { key: gapKey(gap), kind: "ledger_gap", message, facts });
}

/** Looks at the whole day of each gap that was told before, and clears those that are no more. */
async function clearClosedGaps(db: DatabaseClient): Promise<void> {
  const told = (await readOpenAlerts(db)).filter((alert) => alert.kind === "ledger_gap");
  for (const day of new Set(told.map((alert) => `${alert.facts["day"]}`))) {
    const from = new Date(`${day}T00:00:00Z`);
    const gaps = await readGaps(db, { from, to: new Date(from.getTime() + DAY_MS) });
    const open = new Set(gaps.map(gapKey));
    for (const alert of told) if (alert.facts["day"] === day && !open.has(alert.key)) await clearAlert(db, alert.key);
  }
}

function gapKey(gap: GapRow): string {
  return `ledger_gap:${gap.org_id}:${gap.day}`;
}

function countMissing(gaps: readonly GapRow[]): number {
  return gaps.reduce((sum, gap) => sum + countRows(gap), 0);
}

const countRows = (gap: GapRow): number => gap.not_ingested + gap.event_deleted + gap.adjustment_deleted + gap.amount_differs;

import type { DatabaseExecutor, SettlementState, SpendReviewReason } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import {
  type BatchRow,
  type EventRow,
  readBatches,
  readBatchStates,
  readEvents,
  readOpenEvents,
  readOpenReviews,
  readUsage,
  type UsageRange,
  type UsageRow,
} from "./usage-db.ts";

export interface UsageTotals {
  readonly requests: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly spendUsd: DecimalText;
  /** Spend with markup, as it is or will be deducted. */
  readonly credits: DecimalText;
}

export interface OrgUsage extends UsageTotals {
  readonly orgId: string;
  /** Dearest first. */
  readonly byModel: readonly (UsageTotals & { readonly model: string })[];
  /** Dearest first; `sessionId` is null for requests without one. */
  readonly bySession: readonly (UsageTotals & { readonly sessionId: string | null })[];
}

function totalsOf(row: UsageRow | undefined): UsageTotals {
  return {
    requests: Number(row?.requests ?? 0),
    promptTokens: Number(row?.prompt_tokens ?? 0),
    completionTokens: Number(row?.completion_tokens ?? 0),
    spendUsd: row?.spend_usd ?? "0",
    credits: row?.credits ?? "0",
  };
}

/**
 * What an org used, by the start of its requests: `from` inclusive, `to` exclusive. Counts what is metered (has its
 * billing event), so it lags the spend rows by one sync. An org that never spent has zeros. Amounts are exact.
 */
export async function getOrgUsage(db: DatabaseExecutor, orgId: string, range: UsageRange = {}): Promise<OrgUsage> {
  const rows = await readUsage(db, orgId, range);
  const group = (grouping: UsageRow["grouping"]): readonly UsageRow[] => rows.filter((row) => row.grouping === grouping);
  return {
    orgId,
    ...totalsOf(group("total")[0]),
    byModel: group("model").map((row) => ({ model: row.model ?? "", ...totalsOf(row) })),
    bySession: group("session").map((row) => ({ sessionId: row.session_id, ...totalsOf(row) })),
  };
}

export interface LedgerBatch {
  readonly batchId: string;
  readonly sequence: number;
  readonly state: SettlementState;
  /** May have been applied, but too long ago to ask again under its key. */
  readonly needsReconcile: boolean;
  readonly eventCount: number;
  readonly spendUsd: DecimalText;
  readonly credits: DecimalText;
  readonly carryInCredits: DecimalText;
  readonly carryOutCredits: DecimalText;
  /** What the sink said that it took; null before it said so, and where a refused duplicate proved the delivery. */
  readonly deductedCredits: DecimalText | null;
  readonly balanceAfterCredits: DecimalText | null;
  readonly sealedAt: Date;
  readonly deliveredAt: Date | null;
  readonly attemptCount: number;
  readonly lastErrorCode: string | null;
}

export interface LedgerEvent {
  readonly eventId: string;
  readonly requestId: string;
  readonly sessionId: string | null;
  readonly model: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly spendUsd: DecimalText;
  readonly markup: DecimalText;
  readonly creditsPerUsd: DecimalText;
  readonly credits: DecimalText;
  readonly occurredAt: Date;
  readonly recordedAt: Date;
  /** The batch that settles it; null while it is open. */
  readonly batchId: string | null;
}

export interface LedgerPage {
  readonly orgId: string;
  readonly batches: readonly LedgerBatch[];
  readonly events: readonly LedgerEvent[];
  /** Give it to the next call; null when both lists are at their end. */
  readonly nextCursor: string | null;
}

const ledgerBatchOf = (row: BatchRow): LedgerBatch => ({
  batchId: row.batch_id,
  sequence: row.sequence,
  state: row.state,
  needsReconcile: row.needs_reconcile,
  eventCount: row.event_count,
  spendUsd: row.spend_usd,
  credits: row.credits,
  carryInCredits: row.carry_in,
  carryOutCredits: row.carry_out,
  deductedCredits: row.deducted_credits,
  balanceAfterCredits: row.balance_after,
  sealedAt: row.sealed_at,
  deliveredAt: row.delivered_at,
  attemptCount: row.attempt_count,
  lastErrorCode: row.last_error_code,
});

const ledgerEventOf = (row: EventRow): LedgerEvent => ({
  eventId: row.event_id,
  requestId: row.request_id,
  sessionId: row.session_id,
  model: row.model,
  promptTokens: row.prompt_tokens,
  completionTokens: row.completion_tokens,
  spendUsd: row.spend_usd,
  markup: row.markup,
  creditsPerUsd: row.credits_per_usd,
  credits: row.credits,
  occurredAt: row.occurred_at,
  recordedAt: row.recorded_at,
  batchId: row.batch_id,
});

const START: LedgerCursor = { beforeSequence: 2_147_483_647, beforeEventId: "9223372036854775807" };

interface LedgerCursor {
  readonly beforeSequence: number;
  readonly beforeEventId: string;
}

function parseCursor(cursor: string): LedgerCursor {
  const match = /^(\d{1,10})\.(\d{1,19})$/.exec(cursor);
  const beforeSequence = Number(match?.[1]);
  const beforeEventId = match?.[2];
  if (beforeEventId === undefined || beforeSequence > START.beforeSequence || BigInt(beforeEventId) > BigInt(START.beforeEventId)) {
    throw new AppError("invalid_request", "`cursor` is not one that a former page of this ledger gave.", { param: "cursor" });
  }
  return { beforeSequence, beforeEventId };
}

/**
 * One page of an org's ledger, newest first: at most `limit` batches and `limit` events (default 50, at most 500), paged
 * together. Throws `invalid_request` on a cursor that no former page gave.
 */
export async function listLedger(
  db: DatabaseExecutor,
  orgId: string,
  options: { readonly cursor?: string; readonly limit?: number } = {},
): Promise<LedgerPage> {
  const limit = Math.min(Math.max(Math.trunc(options.limit ?? 50), 1), 500);
  const cursor = options.cursor === undefined ? START : parseCursor(options.cursor);
  const [batches, events] = await Promise.all([
    readBatches(db, orgId, { beforeSequence: cursor.beforeSequence, limit }),
    readEvents(db, orgId, { beforeEventId: cursor.beforeEventId, limit }),
  ]);
  const ended = batches.length < limit && events.length < limit;
  const nextSequence = batches.length < limit ? 0 : (batches.at(-1)?.sequence ?? 0);
  const nextEventId = events.length < limit ? "0" : (events.at(-1)?.event_id ?? "0");
  return {
    orgId,
    batches: batches.map(ledgerBatchOf),
    events: events.map(ledgerEventOf),
    nextCursor: ended ? null : `${nextSequence}.${nextEventId}`,
  };
}

export interface BillingStatus {
  /** Events that are in no batch yet. */
  readonly openEvents: number;
  readonly openCredits: DecimalText;
  /** Owed, but below the precision of a settled amount; moves into the next batch of its org. */
  readonly carryCredits: DecimalText;
  /** Every state, with zeros. `needsReconcile` counts a part of `unknown`. */
  readonly batches: Readonly<Record<SettlementState, { readonly batches: number; readonly credits: DecimalText }>>;
  readonly needsReconcile: number;
  /** Age of the oldest event that is not delivered; null when everything is. */
  readonly oldestUnsettledSeconds: number | null;
  /** Spend rows that cannot be billed as they are, by reason. */
  readonly reviews: Readonly<Record<SpendReviewReason, number>>;
}

const STATES = [
  "sealed",
  "sending",
  "unknown",
  "delivered",
  "unapplied",
  "parked",
  "dead",
  "shortfall",
] as const satisfies readonly SettlementState[];
/** Why a spend row can need a person. */
export const SPEND_REVIEW_REASONS = [
  "no_org",
  "no_request_id",
  "bad_spend",
  "recycled_id",
  "unlinked_refund",
  "excess_refund",
  "zero_price",
  "unknown_usage",
  "retired_month",
] as const satisfies readonly SpendReviewReason[];

/** Where every credit of the deployment is now. Read only. */
export async function getBillingStatus(db: DatabaseExecutor): Promise<BillingStatus> {
  const [open, states, reviews] = await Promise.all([readOpenEvents(db), readBatchStates(db), readOpenReviews(db)]);
  const stateOf = (state: SettlementState): { batches: number; credits: DecimalText } => {
    const rows = states.filter((row) => row.state === state);
    return { batches: rows.reduce((sum, row) => sum + Number(row.batches), 0), credits: addDecimals(...rows.map((row) => row.credits)) };
  };
  return {
    openEvents: Number(open.events),
    openCredits: open.credits,
    carryCredits: open.carry_credits,
    batches: Object.fromEntries(STATES.map((state) => [state, stateOf(state)])) as BillingStatus["batches"],
    needsReconcile: states.filter((row) => row.needs_reconcile).reduce((sum, row) => sum + Number(row.batches), 0),
    oldestUnsettledSeconds: open.oldest_unsettled_seconds === null ? null : Number(open.oldest_unsettled_seconds),
    reviews: Object.fromEntries(
      SPEND_REVIEW_REASONS.map((reason) => [reason, Number(reviews.find((row) => row.reason === reason)?.rows ?? 0)]),
    ) as BillingStatus["reviews"],
  };
}

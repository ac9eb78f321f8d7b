/** Statements behind `billing status` and the metrics: what is behind, what rests, and whether source and ledger agree. Read only. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

/** No request costs this much; NaN and Infinity are above it by PostgreSQL's order. As ingest has it. */
const MAX_SPEND_USD = 1_000_000;

export interface CompletenessRow {
  readonly source_rows: string;
  readonly source_usd: string;
  /** What the ledger says of the rows that have an event. */
  readonly billed_usd: string;
  readonly review_rows: string;
  readonly review_usd: string;
  readonly unbilled_rows: string;
  readonly unbilled_usd: string;
  /** The part of it whose request ended longer ago than the grace. */
  readonly overdue_usd: string;
  readonly overdue_rows: string;
  /** What the ledger has beyond the source, over the rows where it has more; zero or positive. */
  readonly overbilled_usd: string;
  readonly oldest_unbilled_seconds: string | null;
}

/**
 * Compares every spend row with its event, amount by amount; `from` narrows it to requests that began then or later.
 * Reads both tables once. An amount that is no number, or beyond reason, counts as zero here and stands in review.
 */
export async function compareSourceWithLedger(db: DatabaseExecutor, options: { readonly from?: Date | undefined; readonly graceMs: number }): Promise<CompletenessRow> {
  const from = options.from ?? null;
  const result = await sql<CompletenessRow>`
    with compared as (
      select case when abs(s.spend) <= ${sql.lit(MAX_SPEND_USD)} then s.spend::text::numeric else 0 end as source_usd, e.spend_usd as billed_usd,
        e.idempotency_key is null and (r.review_key is not null or length(s.request_id) not between 1 and 1000) as in_review,
        s."endTime" at time zone 'UTC' as ended_at
      from "LiteLLM_SpendLogs" s
      left join billing_events e on e.idempotency_key = 'llm:' || s.request_id
      left join spend_reviews r on r.review_key = 'id:' || s.request_id and r.resolved_at is null
      where ${from}::timestamptz is null or s."startTime" >= ${from}::timestamptz at time zone 'UTC'
    ), differences as (
      select *, case when in_review then 0 else source_usd - coalesce(billed_usd, 0) end as missing_usd,
        not in_review and (billed_usd is null or billed_usd < source_usd) as is_unbilled,
        ended_at < billing_now() - ${options.graceMs} * interval '1 millisecond' as is_overdue
      from compared
    )
    select count(*) as source_rows, trim_scale(coalesce(sum(source_usd), 0)) as source_usd, trim_scale(coalesce(sum(billed_usd), 0)) as billed_usd,
      count(*) filter (where in_review) as review_rows, trim_scale(coalesce(sum(source_usd) filter (where in_review), 0)) as review_usd,
      count(*) filter (where is_unbilled) as unbilled_rows, trim_scale(coalesce(sum(missing_usd) filter (where is_unbilled), 0)) as unbilled_usd,
      count(*) filter (where is_unbilled and is_overdue) as overdue_rows,
      trim_scale(coalesce(sum(missing_usd) filter (where is_unbilled and is_overdue), 0)) as overdue_usd,
      trim_scale(coalesce(-sum(missing_usd) filter (where not is_unbilled and missing_usd < 0), 0)) as overbilled_usd,
      round(extract(epoch from billing_now() - min(ended_at) filter (where is_unbilled))) as oldest_unbilled_seconds
    from differences`.execute(db);
  const row = result.rows[0];
  if (row === undefined) throw new Error("an aggregate without groups has one row");
  return row;
}

export interface DeliveryRow {
  /** Credits on the ledger that no sink has confirmed, the carry included; without what a capped balance will never pay. */
  readonly unposted_credits: string;
  /** Longest time since a batch was sealed that is not delivered. */
  readonly oldest_undelivered_seconds: string | null;
  readonly due_batches: string;
  readonly last_delivered_at: Date | null;
}

export async function readDelivery(db: DatabaseExecutor): Promise<DeliveryRow> {
  const result = await sql<DeliveryRow>`
    select trim_scale(coalesce(sum(credits - coalesce(deducted_credits, 0)) filter (where state not in ('delivered', 'shortfall')), 0)
        + (select coalesce(sum(credits), 0) from billing_events where batch_id is null)
        + (select coalesce(sum(carry_credits), 0) from billing_accounts)) as unposted_credits,
      round(extract(epoch from billing_now() - min(sealed_at) filter (where state not in ('delivered', 'shortfall')))) as oldest_undelivered_seconds,
      count(*) filter (where state in ('sealed', 'unknown', 'parked') and not needs_reconcile and next_attempt_at <= billing_now()) as due_batches,
      max(delivered_at) as last_delivered_at
    from settlement_batches`.execute(db);
  return result.rows[0] ?? { unposted_credits: "0", oldest_undelivered_seconds: null, due_batches: "0", last_delivered_at: null };
}

export interface SourceLagRow {
  /** Age of the newest spend row; null where there is none. */
  readonly newest_row_seconds: string | null;
  readonly attempts_in_flight: string;
  readonly oldest_attempt_seconds: string | null;
}

export async function readSourceLag(db: DatabaseExecutor): Promise<SourceLagRow> {
  const result = await sql<SourceLagRow>`
    select (select round(extract(epoch from billing_now() - max("startTime") at time zone 'UTC')) from "LiteLLM_SpendLogs") as newest_row_seconds,
      count(*) as attempts_in_flight, round(extract(epoch from billing_now() - min(started_at))) as oldest_attempt_seconds
    from request_attempts`.execute(db);
  return result.rows[0] ?? { newest_row_seconds: null, attempts_in_flight: "0", oldest_attempt_seconds: null };
}

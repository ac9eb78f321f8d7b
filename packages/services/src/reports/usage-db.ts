/** Statements behind the reports on usage, ledger and settlement. Read only. */
import type { DatabaseExecutor, SettlementState, SpendReviewReason } from "@proliferate/db";
import { sql } from "kysely";
import { BATCHES_UNDER_WAY } from "../billing/index.ts";
import { JOIN_BATCH } from "../ledger/index.ts";
import { OPEN_ACCOUNTS } from "./open-accounts-db.ts";

export interface UsageRange {
  /** Inclusive; by the start of the request. Default: from the beginning. */
  readonly from?: Date;
  /** Exclusive. Default: without end. */
  readonly to?: Date;
  readonly sessionId?: string;
}

export interface UsageRow {
  /** Null in the row of the total, and in the group of requests that had none. */
  readonly model: string | null;
  readonly session_id: string | null;
  readonly grouping: "total" | "model" | "session";
  readonly requests: string;
  readonly prompt_tokens: string;
  readonly completion_tokens: string;
  readonly spend_usd: string;
  readonly credits: string;
}

/** An org's total (always one row), its groups by model and by session, dearest first. */
export async function readUsage(db: DatabaseExecutor, orgId: string, range: UsageRange): Promise<readonly UsageRow[]> {
  const from = range.from ?? null;
  const to = range.to ?? null;
  const sessionId = range.sessionId ?? null;
  const result = await sql<UsageRow>`
    select model, session_id, case grouping(model, session_id) when 3 then 'total' when 1 then 'model' else 'session' end as grouping,
      count(*) filter (where event_type = 'llm') as requests, coalesce(sum(prompt_tokens), 0) as prompt_tokens, coalesce(sum(completion_tokens), 0) as completion_tokens,
      trim_scale(coalesce(sum(spend_usd), 0)) as spend_usd, trim_scale(coalesce(sum(credits), 0)) as credits
    from billing_events
    where org_id = ${orgId}
      and (${from}::timestamptz is null or occurred_at >= ${from}::timestamptz)
      and (${to}::timestamptz is null or occurred_at < ${to}::timestamptz)
      and (${sessionId}::text is null or session_id = ${sessionId}::text)
    group by grouping sets ((), (model), (session_id))
    order by sum(spend_usd) desc nulls last, model, session_id`.execute(db);
  return result.rows;
}

export interface BatchRow {
  readonly batch_id: string;
  readonly sequence: number;
  readonly event_count: number;
  readonly spend_usd: string;
  readonly credits: string;
  readonly carry_in: string;
  readonly carry_out: string;
  readonly state: SettlementState;
  readonly needs_reconcile: boolean;
  readonly sealed_at: Date;
  readonly delivered_at: Date | null;
  readonly attempt_count: number;
  readonly deducted_credits: string | null;
  readonly balance_after: string | null;
  readonly last_error_code: string | null;
}

/** An org's batches below `beforeSequence`, newest first. */
export async function readBatches(
  db: DatabaseExecutor,
  orgId: string,
  options: { readonly beforeSequence: number; readonly limit: number },
): Promise<readonly BatchRow[]> {
  const result = await sql<BatchRow>`
    select batch_id, sequence, event_count, trim_scale(spend_usd) as spend_usd, trim_scale(credits) as credits, trim_scale(carry_in) as carry_in,
      trim_scale(carry_out) as carry_out, state, needs_reconcile, sealed_at, delivered_at, attempt_count,
      trim_scale(deducted_credits) as deducted_credits, trim_scale(balance_after) as balance_after, last_error_code
    from settlement_batches
    where org_id = ${orgId} and sequence < ${options.beforeSequence}
    order by sequence desc
    limit ${options.limit}`.execute(db);
  return result.rows;
}

export interface EventRow {
  readonly event_id: string;
  readonly request_id: string;
  readonly session_id: string | null;
  readonly model: string;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly spend_usd: string;
  readonly markup: string;
  readonly credits_per_usd: string;
  readonly credits: string;
  readonly occurred_at: Date;
  readonly recorded_at: Date;
  readonly batch_id: string | null;
}

/** An org's events below `beforeEventId`, newest first. */
export async function readEvents(
  db: DatabaseExecutor,
  orgId: string,
  options: { readonly beforeEventId: string; readonly limit: number },
): Promise<readonly EventRow[]> {
  const result = await sql<EventRow>`
    select e.event_id, e.request_id, e.session_id, e.model, e.prompt_tokens, e.completion_tokens, trim_scale(e.spend_usd) as spend_usd,
      trim_scale(e.markup) as markup, trim_scale(e.credits_per_usd) as credits_per_usd, trim_scale(e.credits) as credits, e.occurred_at, e.recorded_at, b.batch_id
    from (
      select * from billing_events where org_id = ${orgId} and event_id < ${options.beforeEventId}::bigint order by event_id desc limit ${options.limit}
    ) e ${JOIN_BATCH}
    order by e.event_id desc`.execute(db);
  return result.rows;
}

interface OpenEventsRow {
  readonly events: string;
  readonly credits: string;
  readonly carry_credits: string;
  /** Age of the oldest event that is not in a delivered batch; null when there is none. */
  readonly oldest_unsettled_seconds: string | null;
}

/** What is on the ledger and in no batch yet. */
export async function readOpenEvents(db: DatabaseExecutor): Promise<OpenEventsRow> {
  const result = await sql<OpenEventsRow>`
    with open as (
      -- When its events begin is not known of what a process of an older version wrote during an upgrade; the account is told of once
      -- that has happened, and a batch of which it is not known is as old as its sealing.
      select sum(open_event_count) as events, sum(open_credits) as credits, min(nullif(open_since, '-infinity')) as since
      from ${OPEN_ACCOUNTS} accounts
    )
    select coalesce(events, 0) as events, trim_scale(coalesce(credits, 0)) as credits, trim_scale((select carry_credits from billing_totals)) as carry_credits,
      round(extract(epoch from clock_timestamp() - least(since, (
        select min(case when oldest_event_at > '-infinity' then oldest_event_at else sealed_at end) from settlement_batches
        where state <> 'delivered' and state <> 'shortfall'
      )))) as oldest_unsettled_seconds
    from open`.execute(db);
  return result.rows[0] ?? { events: "0", credits: "0", carry_credits: "0", oldest_unsettled_seconds: null };
}

interface StateRow {
  readonly state: SettlementState;
  readonly needs_reconcile: boolean;
  readonly batches: string;
  readonly credits: string;
}

/** No batch is read: each was counted when it came into its state. */
export async function readBatchStates(db: DatabaseExecutor): Promise<readonly StateRow[]> {
  const result = await sql<StateRow>`
    select state, needs_reconcile, count as batches, trim_scale(credits) as credits from ${BATCHES_UNDER_WAY} under_way
    union all
    select state, false, sum(batches), trim_scale(sum(credits)) from settled_batch_days group by state having sum(batches) > 0
    order by state, needs_reconcile`.execute(db);
  return result.rows;
}

interface ReviewRow {
  readonly reason: SpendReviewReason;
  readonly rows: string;
}

/** How many spend rows wait for a person, by reason. */
export async function readOpenReviews(db: DatabaseExecutor): Promise<readonly ReviewRow[]> {
  const result = await sql<ReviewRow>`
    select reason, count(*) as rows from spend_reviews where resolved_at is null group by reason order by reason`.execute(db);
  return result.rows;
}

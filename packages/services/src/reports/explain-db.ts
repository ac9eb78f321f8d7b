/** Statements behind `billing explain`: one record's whole chain, looked up by any of its names. Read only. */
import type { DatabaseExecutor, SettlementState } from "@proliferate/db";
import { sql } from "kysely";
import { IS_IN_BATCH, JOIN_BATCH, plainAmount, plainSpend } from "../ledger/index.ts";

export interface SourceRow {
  readonly request_id: string;
  readonly call_type: string;
  readonly status: string | null;
  readonly team_id: string | null;
  readonly user_id: string | null;
  readonly key_hash: string;
  readonly model: string;
  readonly provider: string | null;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  /** Plain decimal text; `NaN` and `Infinity` as they are. */
  readonly spend: string;
  readonly started_at: Date;
  readonly ended_at: Date;
}

/** The spend row of a request, as the engine wrote it. */
export async function readSourceRow(db: DatabaseExecutor, requestId: string): Promise<SourceRow | undefined> {
  const result = await sql<SourceRow>`
    select request_id, call_type, status, team_id, "user" as user_id, api_key as key_hash, model, custom_llm_provider as provider,
      prompt_tokens, completion_tokens, ${plainAmount(sql.ref("spend"))} as spend, "startTime" as started_at, "endTime" as ended_at
    from "LiteLLM_SpendLogs" where request_id = ${requestId}`.execute(db);
  return result.rows[0];
}

/** True while the request may still reach its provider, or waits for the spend row of a proxy that died. */
export async function isInFlight(db: DatabaseExecutor, attemptId: string): Promise<boolean> {
  const result = await sql`select 1 from request_attempts where attempt_id::text = ${attemptId}`.execute(db);
  return result.rows.length > 0;
}

export interface ExplainedEventRow {
  readonly event_id: string;
  readonly idempotency_key: string;
  readonly event_type: string;
  readonly org_id: string;
  readonly request_id: string;
  /** Of an adjustment: the event that it corrects. */
  readonly original_event_id: string | null;
  readonly session_id: string | null;
  readonly key_hash: string | null;
  readonly model: string;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly spend_usd: string;
  /** Null: no rate card was valid, the rate came from the environment. */
  readonly rate_card_id: string | null;
  /** Whose the card is; null: the default. */
  readonly rate_card_org_id: string | null;
  readonly rate_valid_from: Date | null;
  readonly markup: string;
  readonly credits_per_usd: string;
  readonly credits: string;
  readonly occurred_at: Date;
  readonly recorded_at: Date;
  readonly batch_id: string | null;
  /** It came while its account was kept: it is in no batch, and never will be. */
  readonly is_kept: boolean;
}

const SELECT_EVENT = sql`
  select e.event_id, e.idempotency_key, e.event_type, e.org_id, e.request_id, e.original_event_id, e.session_id, e.key_hash, e.model, e.prompt_tokens, e.completion_tokens,
    trim_scale(e.spend_usd) as spend_usd, e.rate_card_id, c.org_id as rate_card_org_id, greatest(c.valid_from, 'epoch') as rate_valid_from,
    trim_scale(e.markup) as markup, trim_scale(e.credits_per_usd) as credits_per_usd, trim_scale(e.credits) as credits, e.occurred_at, e.recorded_at, b.batch_id,
    b.batch_id is null and exists (select from billing_accounts a where a.org_id = e.org_id and a.sealed_event_id >= e.event_id) as is_kept
  from keys k join billing_events e on e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at
  left join rate_cards c using (rate_card_id) ${JOIN_BATCH}
  order by e.event_id`;

/** Every event of a request, oldest first: the usage, its refund, then the adjustments. Events of retired months are not found. */
export async function readEventsOfRequest(db: DatabaseExecutor, requestId: string): Promise<readonly ExplainedEventRow[]> {
  const result = await sql<ExplainedEventRow>`
    with original as (
      select org_id, event_id, recorded_at, adjustment_count from billing_event_keys
      where idempotency_key in ('llm:' || ${requestId}, 'llm:' || ${requestId} || ':correction')
    ), keys as (
      select org_id, event_id, recorded_at from original
      union
      select k.org_id, k.event_id, k.recorded_at
      from original o cross join generate_series(1, o.adjustment_count) n join billing_event_keys k on k.idempotency_key = 'adj:' || ${requestId} || ':' || n
      union
      select k.org_id, k.event_id, k.recorded_at
      from spend_reviews r join billing_event_keys k on k.idempotency_key = r.review_key where r.request_id = ${requestId} and r.reason = 'retired_month'
    ) ${SELECT_EVENT}`.execute(db);
  return result.rows;
}

/** The month with which the event of a request left the ledger; undefined where it did not. */
export async function readRetiredMonth(db: DatabaseExecutor, requestId: string): Promise<string | undefined> {
  const result = await sql<{ month: string }>`
    select replace(right(t.partition, 7), '_', '-') as month
    from billing_event_keys k join retired_event_sums t on t.recorded_from <= k.recorded_at and k.recorded_at < t.recorded_to
    where k.idempotency_key = 'llm:' || ${requestId}
    limit 1`.execute(db);
  return result.rows[0]?.month;
}

/** The event with this number: one look-up an org, as ids are indexed by org. */
export async function readEventById(db: DatabaseExecutor, eventId: string): Promise<ExplainedEventRow | undefined> {
  const result = await sql<ExplainedEventRow>`
    with keys as (
      select e.org_id, e.event_id, e.recorded_at
      from billing_accounts a cross join lateral (select * from billing_events where org_id = a.org_id and event_id = ${eventId}::bigint limit 1) e
    ) ${SELECT_EVENT}`.execute(db);
  return result.rows[0];
}

/** The event with this idempotency key. */
export async function readEventByKey(db: DatabaseExecutor, idempotencyKey: string): Promise<ExplainedEventRow | undefined> {
  const result = await sql<ExplainedEventRow>`
    with keys as (select org_id, event_id, recorded_at from billing_event_keys where idempotency_key = ${idempotencyKey}) ${SELECT_EVENT}`.execute(
    db,
  );
  return result.rows[0];
}

export interface ExplainedReviewRow {
  readonly review_key: string;
  readonly request_id: string;
  readonly reason: string;
  readonly spend_usd: string;
  readonly model: string;
  readonly occurred_at: Date;
  readonly first_seen_at: Date;
  readonly resolved_at: Date | null;
  readonly resolution: string | null;
  /** Whose it is, as far as that is known. */
  readonly org_id: string | null;
}

/** The review with this key, or the reviews of this request. */
export async function readReviews(db: DatabaseExecutor, keyOrRequestId: string): Promise<readonly ExplainedReviewRow[]> {
  const result = await sql<ExplainedReviewRow>`
    select review_key, request_id, reason, ${plainSpend("r")} as spend_usd, model, occurred_at, first_seen_at, resolved_at, resolution, org_id
    from spend_reviews r
    where review_key in (${keyOrRequestId}, 'id:' || ${keyOrRequestId}, 'zero:' || ${keyOrRequestId}, 'usage:' || ${keyOrRequestId}, 'cut:' || ${keyOrRequestId})
      or (request_id = ${keyOrRequestId} and reason = 'retired_month')
    order by first_seen_at`.execute(db);
  return result.rows;
}

export interface ExplainedBatchRow {
  readonly batch_id: string;
  readonly org_id: string;
  readonly sequence: number;
  readonly idempotency_key: string;
  readonly redrive_count: number;
  readonly event_count: number;
  readonly spend_usd: string;
  readonly events_credits: string;
  readonly carry_in: string;
  readonly carry_out: string;
  readonly credits: string;
  readonly state: SettlementState;
  readonly needs_reconcile: boolean;
  readonly sealed_at: Date;
  readonly next_attempt_at: Date;
  readonly delivered_at: Date | null;
  readonly deducted_credits: string | null;
  readonly balance_after: string | null;
  readonly last_error_code: string | null;
  readonly last_error: string | null;
  /** Summed from the events now, to be compared with what was sealed. */
  readonly found_events: number;
  readonly found_credits: string;
}

const BATCH_COLUMNS = sql`b.batch_id, b.org_id, b.sequence, b.idempotency_key, b.redrive_count, b.event_count, trim_scale(b.spend_usd) as spend_usd,
  trim_scale(b.events_credits) as events_credits, trim_scale(b.carry_in) as carry_in, trim_scale(b.carry_out) as carry_out, trim_scale(b.credits) as credits,
  b.state, b.needs_reconcile, b.sealed_at, b.next_attempt_at, b.delivered_at, trim_scale(b.deducted_credits) as deducted_credits,
  trim_scale(b.balance_after) as balance_after, b.last_error_code, b.last_error, found.events as found_events, found.credits as found_credits`;

const FOUND_EVENTS = sql`cross join lateral (
  select count(*)::int as events, trim_scale(coalesce(sum(e.credits), 0)) as credits from billing_events e where ${IS_IN_BATCH}) found`;

/** The batch with this id (its text) or with this key at the sink; the key of a redrive (`….1`) finds it, too. */
export async function readBatch(db: DatabaseExecutor, batchIdOrKey: string): Promise<ExplainedBatchRow | undefined> {
  const uuid = /^(?:pb:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.\d+)?$/i.exec(batchIdOrKey)?.[1];
  if (uuid === undefined) return undefined;
  const result =
    await sql<ExplainedBatchRow>`select ${BATCH_COLUMNS} from settlement_batches b ${FOUND_EVENTS} where b.batch_id = ${uuid}::uuid`.execute(
      db,
    );
  return result.rows[0];
}

export interface ExplainedAttemptRow {
  readonly attempt: number;
  readonly idempotency_key: string;
  readonly started_at: Date;
  readonly finished_at: Date | null;
  readonly outcome: string | null;
  readonly status: number | null;
  readonly error_code: string | null;
}

/** Every try to deliver the batch, oldest first. */
export async function readAttempts(db: DatabaseExecutor, batchId: string): Promise<readonly ExplainedAttemptRow[]> {
  const result = await sql<ExplainedAttemptRow>`
    select attempt, idempotency_key, started_at, finished_at, outcome, status, error_code
    from settlement_attempts where batch_id = ${batchId}::uuid order by attempt`.execute(db);
  return result.rows;
}

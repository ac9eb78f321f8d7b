/** Statements of the completeness audit: the source against the ledger, row by row, told by org and day. */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import type { RateCard } from "./credits.ts";
import { IS_CORRECTION, JOIN_OWNER, REVIEW_REASON } from "./source-rows-db.ts";

/** By the start of the request; `from` inclusive, `to` exclusive. */
export interface AuditRange {
  readonly from: Date;
  readonly to: Date;
}

/**
 * Source rows `s` of the range with their key `k` and what is wrong: `not_ingested` (nothing was ever billed),
 * `event_deleted` (it was billed, and its event is gone from a partition that is not retired), `amount_differs`.
 */
const compared = (range: AuditRange): RawBuilder<unknown> => sql`
  select s.request_id, s."startTime" as start_time, coalesce(e.org_id, o.org_id, '') as org_id, to_char(s."startTime", 'YYYY-MM-DD') as day,
    case when abs(s.spend) <= 1000000 then s.spend::text::numeric else 0 end as source_usd,
    case when e.event_id is not null then k.source_spend::text::numeric else 0 end as ledger_usd, k.event_id is not null as has_key, e.event_id is not null as has_event,
    case
      when k.event_id is null and r.review_key is null and (${REVIEW_REASON} is null or ${IS_CORRECTION}) then 'not_ingested'
      when k.event_id is not null and e.event_id is null
        and not exists (select from retired_event_sums t where k.recorded_at >= t.recorded_from and k.recorded_at < t.recorded_to) then 'event_deleted'
      when e.event_id is not null and k.source_start = s."startTime" and k.source_spend <> s.spend then 'amount_differs'
    end as problem
  from "LiteLLM_SpendLogs" s ${JOIN_OWNER}
  left join billing_event_keys k on k.idempotency_key = 'llm:' || s.request_id
  left join billing_events e on e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at
  left join spend_reviews r on r.review_key = 'id:' || s.request_id
  where s."startTime" >= ${range.from.toISOString()}::timestamp and s."startTime" < ${range.to.toISOString()}::timestamp`;

export interface GapRow {
  readonly org_id: string;
  /** UTC, by the start of the requests. */
  readonly day: string;
  readonly source_rows: number;
  readonly source_usd: string;
  readonly ledger_rows: number;
  readonly ledger_usd: string;
  readonly not_ingested: number;
  readonly event_deleted: number;
  readonly amount_differs: number;
  /** Source minus ledger over the rows with a problem. */
  readonly missing_usd: string;
  /** Some of the request ids that have a problem. */
  readonly examples: readonly string[];
}

/** Each org's days whose rows or sums in the ledger are not the source's. */
export async function readGaps(db: DatabaseExecutor, range: AuditRange): Promise<readonly GapRow[]> {
  const result = await sql<GapRow>`
    with compared as (${compared(range)})
    select org_id, day, count(*)::int as source_rows, trim_scale(sum(source_usd)) as source_usd,
      count(*) filter (where has_event)::int as ledger_rows, trim_scale(sum(ledger_usd)) as ledger_usd,
      count(*) filter (where problem = 'not_ingested')::int as not_ingested, count(*) filter (where problem = 'event_deleted')::int as event_deleted,
      count(*) filter (where problem = 'amount_differs')::int as amount_differs,
      trim_scale(sum(source_usd - ledger_usd) filter (where problem is not null)) as missing_usd,
      (array_agg(request_id order by request_id) filter (where problem is not null))[1:5] as examples
    from compared group by org_id, day
    having count(problem) > 0
    order by day, org_id`.execute(db);
  return result.rows;
}

/** Spend rows of the range. */
export async function countSourceRows(db: DatabaseExecutor, range: AuditRange): Promise<string> {
  const result = await sql<{ count: string }>`
    select count(*) as count from "LiteLLM_SpendLogs" s
    where s."startTime" >= ${range.from.toISOString()}::timestamp and s."startTime" < ${range.to.toISOString()}::timestamp`.execute(db);
  return result.rows[0]?.count ?? "0";
}

/**
 * Puts events back that were deleted from the ledger, under their own ids, and so into the batches that lack them: what a row
 * was billed follows from the row and the rate cards. Accounts are not moved: they were, when it was billed. Call it under
 * `lockIngest`.
 */
export async function restoreDeletedEvents(tx: DatabaseExecutor, range: AuditRange, rate: RateCard): Promise<number> {
  const result = await sql<{ restored: number }>`
    with lost as materialized (
      select k.event_id, k.idempotency_key, k.recorded_at, k.org_id, s.request_id, nullif(s."user", '') as session_id, nullif(s.api_key, '') as key_hash, s.model,
        s.prompt_tokens, s.completion_tokens, k.source_spend::text::numeric as spend_usd, s."startTime" at time zone 'UTC' as occurred_at
      from (${compared(range)}) c
      join "LiteLLM_SpendLogs" s on s.request_id = c.request_id and s."startTime" = c.start_time
      join billing_event_keys k on k.idempotency_key = 'llm:' || s.request_id
      where c.problem = 'event_deleted' and k.org_id is not null and k.adjustment_count = 0 and not ${IS_CORRECTION}
    ), priced as (
      select l.*, coalesce(own.rate_card_id, base.rate_card_id) as rate_card_id, coalesce(own.markup, base.markup, ${rate.markup}::numeric) as markup,
        coalesce(own.credits_per_usd, base.credits_per_usd, ${rate.creditsPerUsd}::numeric) as credits_per_usd
      from lost l
      left join rate_cards own on own.org_id = l.org_id and l.occurred_at >= own.valid_from and l.occurred_at < own.valid_to
      left join rate_cards base on base.org_id is null and l.occurred_at >= base.valid_from and l.occurred_at < base.valid_to
    ), restored as (
      insert into billing_events (event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at)
      select event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, rate_card_id, markup, credits_per_usd, spend_usd * markup * credits_per_usd, occurred_at, recorded_at
      from priced
      returning 1
    )
    select count(*)::int as restored from restored`.execute(tx);
  return result.rows[0]?.restored ?? 0;
}

export interface AuditRecord extends AuditRange {
  readonly startedAt: Date;
  readonly comparedRows: string;
  readonly gaps: number;
  readonly missingRows: number;
  readonly missingUsd: string;
  readonly healedRows: number;
}

/** Keeps the outcome of an audit. Returns its id. */
export async function recordAudit(db: DatabaseExecutor, audit: AuditRecord): Promise<string> {
  const result = await sql<{ audit_id: string }>`
    insert into completeness_audits (range_from, range_to, started_at, finished_at, compared_rows, gaps, missing_rows, missing_usd, healed_rows)
    values (${audit.from}, ${audit.to}, ${audit.startedAt}, billing_now(), ${audit.comparedRows}::bigint, ${audit.gaps}, ${audit.missingRows},
      ${audit.missingUsd}::numeric, ${audit.healedRows})
    returning audit_id`.execute(db);
  return result.rows[0]?.audit_id ?? "";
}

/** By the billing clock. */
export async function readBillingNow(db: DatabaseExecutor): Promise<Date> {
  const result = await sql<{ now: Date }>`select billing_now() as now`.execute(db);
  return result.rows[0]?.now ?? new Date();
}

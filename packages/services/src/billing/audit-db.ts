/**
 * Statements of the completeness audit. It compares each spend row of a range with its events on the ledger, and reports the
 * differences as one gap for each organization and day. It can put back what somebody deleted from the ledger.
 *
 * Example: org_a has 10 spend rows of 1.00 USD on 2026-11-03, and somebody deleted one event: `source_rows` 10, `ledger_rows` 9,
 * `event_deleted` 1, `missing_usd` 1.00, `examples` with the request id of that row.
 */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import type { RateCard } from "../rates/index.ts";
import { CORRECTED_REQUEST_ID, IS_CORRECTION, isRetired, JOIN_OWNER, REVIEW_REASON } from "../ledger/index.ts";

/** By the start of the request; `from` inclusive, `to` exclusive. */
export interface AuditRange {
  readonly from: Date;
  readonly to: Date;
}

const isWithinAudit = (range: AuditRange): RawBuilder<boolean> =>
  sql`s."startTime" >= ${range.from.toISOString()}::timestamp and s."startTime" < ${range.to.toISOString()}::timestamp`;

/**
 * Of a billed row `s` with key `k`, as `adj`: its adjustments to later amounts, refunds left aside (they have rows of their own). How
 * many are gone from the ledger, how many left it with their month, and the sum of those that are there.
 */
const JOIN_ADJUSTMENTS: RawBuilder<unknown> = sql`left join lateral (
  select count(*) filter (where x.event_id is null and not ${isRetired("a")})::int as lost, count(*) filter (where x.event_id is null and ${isRetired("a")})::int as retired,
    coalesce(sum(x.spend_usd), 0) as usd
  from generate_series(1, k.adjustment_count) n
  join billing_event_keys a on a.idempotency_key = 'adj:' || s.request_id || ':' || n
  left join billing_events x on x.org_id = a.org_id and x.event_id = a.event_id and x.recorded_at = a.recorded_at
  where not exists (select from billing_event_keys refund where refund.idempotency_key = 'llm:' || s.request_id || ':correction' and refund.event_id = a.event_id)
) adj on k.adjustment_count > 0`;

/**
 * Source rows `s` of the range with their key `k`, whose they are (once billed, the account that they were billed to, whoever pays for the team now), and what is wrong: `not_ingested` (nothing was ever billed),
 * `event_deleted` (it was billed, and its event is gone from a partition that is not retired), `adjustment_deleted` (the same of an
 * adjustment to a later amount), `amount_differs`.
 */
const compared = (range: AuditRange): RawBuilder<unknown> => sql`
  -- Read first and for itself: the planner takes the look-ups for so dear that it does not care how the rows are found, and reads all there are.
  with source as materialized (
    select s.request_id, s."startTime", s.spend, s.team_id, s.api_key, s."user" from "LiteLLM_SpendLogs" s where ${isWithinAudit(range)}
  )
  select s.request_id, s."startTime" as start_time, coalesce(e.org_id, k.org_id, o.org_id, '') as org_id, to_char(s."startTime", 'YYYY-MM-DD') as day,
    case when abs(s.spend) <= 1000000 then s.spend::text::numeric else 0 end as source_usd,
    case when e.event_id is null then 0 when adj.lost > 0 then e.spend_usd + adj.usd else k.source_spend::text::numeric end as ledger_usd, k.event_id is not null as has_key, e.event_id is not null as has_event,
    case
      when k.event_id is null and r.review_key is null and (${REVIEW_REASON} is null or ${IS_CORRECTION}) then 'not_ingested'
      when k.event_id is not null and e.event_id is null
        and not ${isRetired("k")} then 'event_deleted'
      when e.event_id is not null and adj.lost > 0 then 'adjustment_deleted'
      when e.event_id is not null and k.source_start = s."startTime" and k.source_spend <> s.spend then 'amount_differs'
    end as problem
  from source s ${JOIN_OWNER}
  left join billing_event_keys k on k.idempotency_key = 'llm:' || s.request_id
  left join billing_events e on e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at
  ${JOIN_ADJUSTMENTS}
  left join spend_reviews r on r.review_key = 'id:' || s.request_id`;

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
  readonly adjustment_deleted: number;
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
      count(*) filter (where problem = 'adjustment_deleted')::int as adjustment_deleted, count(*) filter (where problem = 'amount_differs')::int as amount_differs,
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
    where ${isWithinAudit(range)}`.execute(db);
  return result.rows[0]?.count ?? "0";
}

/**
 * Puts events back that were deleted from the ledger, under their own ids, and so into the batches that lack them: what a row
 * was billed follows from the row and the rate cards; where adjustments followed, from these, as long as none of them is gone.
 * Accounts are not moved: they were, when it was billed. Call it under `lockIngest`.
 */
export async function restoreDeletedEvents(tx: DatabaseExecutor, range: AuditRange, rate: RateCard): Promise<number> {
  const result = await sql<{ restored: number }>`
    with lost as materialized (
      select k.event_id, k.idempotency_key, k.recorded_at, k.org_id, s.request_id, nullif(s."user", '') as session_id, nullif(s.api_key, '') as key_hash, s.model,
        s.prompt_tokens, s.completion_tokens, trim_scale(case when k.adjustment_count = 0 then k.source_spend else greatest(k.source_spend, 0) end::text::numeric - coalesce(adj.usd, 0)) as spend_usd,
        s."startTime" at time zone 'UTC' as occurred_at
      from (${compared(range)}) c
      join "LiteLLM_SpendLogs" s on s.request_id = c.request_id and s."startTime" = c.start_time
      join billing_event_keys k on k.idempotency_key = 'llm:' || s.request_id ${JOIN_ADJUSTMENTS}
      where c.problem = 'event_deleted' and k.org_id is not null and (k.adjustment_count = 0 or (adj.lost = 0 and adj.retired = 0)) and not ${IS_CORRECTION}
    ), priced as (
      select l.*, coalesce(later.rate_card_id, own.rate_card_id, base.rate_card_id) as rate_card_id, coalesce(later.markup, own.markup, base.markup, ${rate.markup}::numeric) as markup,
        coalesce(later.credits_per_usd, own.credits_per_usd, base.credits_per_usd, ${rate.creditsPerUsd}::numeric) as credits_per_usd
      from lost l
      -- An adjustment has the rate of the event that it corrects.
      left join lateral (select * from billing_events x where x.event_type = 'adjustment' and x.original_event_id = l.event_id limit 1) later on true
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

/**
 * Puts adjustments back that were deleted from the ledger, under their own ids, where what they were follows exactly: of a change,
 * where it is the only one that is gone; of a refund, where it was not cut. The rate is that of the event they correct. Call it under
 * `lockIngest`, when deleted events are back.
 */
export async function restoreDeletedAdjustments(tx: DatabaseExecutor, range: AuditRange): Promise<number> {
  const result = await sql<{ restored: number }>`
    with rows as materialized (
      select s.*, k.source_spend, k.adjustment_count, k.org_id, k.event_id as key_event_id, k.recorded_at as key_recorded_at, adj.lost, adj.retired, adj.usd
      from "LiteLLM_SpendLogs" s join billing_event_keys k on k.idempotency_key = 'llm:' || s.request_id ${JOIN_ADJUSTMENTS}
      where ${isWithinAudit(range)} and (k.adjustment_count > 0 or ${IS_CORRECTION})
    ), lost as (
      select a.idempotency_key, a.org_id, a.event_id, a.recorded_at, e.event_id as original_event_id, e.request_id, e.session_id, e.key_hash, e.model, 0 as prompt_tokens, 0 as completion_tokens,
        e.rate_card_id, e.markup, e.credits_per_usd, e.occurred_at,
        case when e.spend_usd < 0 then s.source_spend else greatest(s.source_spend, 0) end::text::numeric - e.spend_usd - s.usd as spend_usd
      from rows s
      join billing_events e on e.org_id = s.org_id and e.event_id = s.key_event_id and e.recorded_at = s.key_recorded_at
      cross join generate_series(1, s.adjustment_count) n
      join billing_event_keys a on a.idempotency_key = 'adj:' || s.request_id || ':' || n
      where s.lost = 1 and s.retired = 0
        and not exists (select from billing_events x where x.org_id = a.org_id and x.event_id = a.event_id and x.recorded_at = a.recorded_at)
        and not exists (select from billing_event_keys refund where refund.idempotency_key = 'llm:' || s.request_id || ':correction' and refund.event_id = a.event_id)
      union all
      select a.idempotency_key, a.org_id, a.event_id, a.recorded_at, e.event_id, e.request_id, e.session_id, e.key_hash, e.model, s.prompt_tokens, s.completion_tokens,
        e.rate_card_id, e.markup, e.credits_per_usd, e.occurred_at, s.source_spend::text::numeric
      from rows s
      join billing_event_keys k on k.idempotency_key = 'llm:' || ${CORRECTED_REQUEST_ID}
      join billing_events e on e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at
      cross join generate_series(1, k.adjustment_count) n
      join billing_event_keys a on a.idempotency_key = 'adj:' || ${CORRECTED_REQUEST_ID} || ':' || n and a.event_id = s.key_event_id
      where ${IS_CORRECTION} and not ${isRetired("a")}
        and not exists (select from billing_events x where x.org_id = a.org_id and x.event_id = a.event_id and x.recorded_at = a.recorded_at)
        and not exists (select from spend_reviews cut where cut.review_key = 'cut:' || s.request_id)
    ), restored as (
      insert into billing_events (event_id, idempotency_key, org_id, event_type, request_id, original_event_id, session_id, key_hash, model, prompt_tokens,
        completion_tokens, spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at)
      select event_id, idempotency_key, org_id, 'adjustment', request_id, original_event_id, session_id, key_hash, model, prompt_tokens,
        completion_tokens, spend_usd, rate_card_id, markup, credits_per_usd, spend_usd * markup * credits_per_usd, occurred_at, recorded_at
      from lost
      returning 1
    )
    select count(*)::int as restored from restored`.execute(tx);
  return result.rows[0]?.restored ?? 0;
}

interface AuditRecord extends AuditRange {
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

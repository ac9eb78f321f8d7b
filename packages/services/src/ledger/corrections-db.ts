/**
 * Statements that find spend rows whose amount changed after billing, and append the difference to the ledger. They rewrite no
 * event: each change becomes one more event, an adjustment.
 *
 * Example: row r1 was billed at 0.10 USD as `llm:r1`. LiteLLM later writes 0.12 into it. `adj:r1:1` adds 0.02; if the row then
 * falls to 0.05, `adj:r1:2` takes 0.07 away. The three events sum to what the row says now.
 */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import { MOVE_ACCOUNTS } from "./accounts-db.ts";
import { isRetired } from "./retired-changes-db.ts";
import {
  CORRECTED_REQUEST_ID,
  HAS_NO_EVENT,
  IS_CORRECTION,
  IS_OF_ANOTHER_KEY,
  isWithin,
  JOIN_OWNER,
  KEY_START,
  REVIEW_REASON,
  ROW_HASH,
  ROW_START,
  type SourceRange,
} from "./source-rows-db.ts";

interface SourceDifferences {
  /** Rows that look as if nothing was billed for them; a used id of another time is among them. */
  readonly fresh: number;
  /** Start of the oldest of them; null when there is none. */
  readonly freshFrom: string | null;
  /** Rows whose amount is no longer the one that was billed. */
  readonly changed: number;
  /** Rows that correct another, without an event yet. */
  readonly corrections: number;
  /** Rows under an id that another request of the range was billed under. */
  readonly recycled: number;
  /** Rows that cannot be billed. */
  readonly unbillable: number;
}

/** Whether the row `s` stands in review under its id, or under its content. */
const IS_KNOWN: RawBuilder<boolean> = sql`exists (select from spend_reviews v where v.review_key in ('id:' || s.request_id, 'row:' || ${ROW_HASH}))`;

/** Whether the correction `s` waits in review for a request that has no event which could be adjusted, or none of the same key. */
const WAITS_FOR_ORIGINAL: RawBuilder<boolean> = sql`${IS_KNOWN} and (${IS_OF_ANOTHER_KEY}
  or not exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || ${CORRECTED_REQUEST_ID} and not ${isRetired("k")}))`;

/**
 * Counts what a pass has to do. Reads the rows and the keys of the range once each, and joins them by hash. What stands in review
 * already is left out: it is no work until its row is repaired, and then it is another row, or one that can be billed.
 */
export async function countDifferences(db: DatabaseExecutor, range: SourceRange): Promise<SourceDifferences> {
  const result = await sql<SourceDifferences>`
    with compared as (
      select s."startTime" as start, s.spend, billed.source_start, billed.source_spend, ${IS_CORRECTION} as is_correction,
        case when billed.idempotency_key is null then ${REVIEW_REASON} end as reason,
        case when billed.source_start = s."startTime" then false
          when billed.idempotency_key is null and ${IS_CORRECTION} then ${WAITS_FOR_ORIGINAL}
          when billed.idempotency_key is null and ${REVIEW_REASON} is null then exists (select from spend_reviews v where v.review_key = 'row:' || ${ROW_HASH})
          else ${IS_KNOWN} end as is_known
      from "LiteLLM_SpendLogs" s ${JOIN_OWNER}
      left join (select * from billing_event_keys k where ${isWithin(KEY_START, range)}) billed on billed.idempotency_key = 'llm:' || s.request_id
      where ${isWithin(ROW_START, range)}
      -- "offset 0" keeps PostgreSQL from working out the row's owner and amount again in each of the sums.
      offset 0
    )
    select count(*) filter (where source_start is null and reason is null and not is_correction and not is_known)::int as fresh,
      (min(start) filter (where source_start is null and reason is null and not is_correction and not is_known))::text as "freshFrom",
      count(*) filter (where source_start = start and source_spend <> spend)::int as changed,
      count(*) filter (where source_start is null and is_correction and not is_known)::int as corrections,
      count(*) filter (where source_start <> start and not is_known)::int as recycled,
      count(*) filter (where reason is not null and not is_known)::int as unbillable
    from compared`.execute(db);
  const row = result.rows[0];
  if (row === undefined) throw new Error("an aggregate without groups has one row");
  return row;
}

export interface AdjustmentChunk {
  readonly events: number;
  readonly credits: string;
}

/**
 * Adds an adjustment for each billed row of the range whose source amount changed since: the difference, at the rate of the
 * original event, as `adj:<request id>:<n>`. A request that became negative is brought to nothing, not below. Atomic; call it
 * under `lockIngest`. Rows that stand twice with one id and one start are left alone: which of them is meant cannot be known.
 * Rows whose event is in a retired partition are, too.
 */
export async function adjustChangedRows(
  db: DatabaseExecutor,
  options: { readonly range: SourceRange; readonly limit: number },
): Promise<AdjustmentChunk> {
  return insertAdjustments(db, changedRows(isWithin(ROW_START, options.range), options.limit));
}

/**
 * As {@link adjustChangedRows}, for rows of any age that a correction row of the range is about: what a request was charged
 * must be up to date before a refund is measured by it.
 */
export async function adjustOriginalsOfCorrections(
  db: DatabaseExecutor,
  options: { readonly range: SourceRange; readonly limit: number },
): Promise<AdjustmentChunk> {
  const corrected = sql<boolean>`s.request_id = any(array(
    select ${CORRECTED_REQUEST_ID} from "LiteLLM_SpendLogs" s where ${isWithin(ROW_START, options.range)} and ${IS_CORRECTION} and ${HAS_NO_EVENT}))`;
  return insertAdjustments(db, changedRows(corrected, options.limit));
}

/** The event `e` of each key `k`, by its primary key. */
const JOIN_EVENT: RawBuilder<unknown> = sql`cross join lateral (
  select * from billing_events e where e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at limit 1) e`;

function changedRows(which: RawBuilder<boolean>, limit: number): RawBuilder<unknown> {
  return sql`
    select k.idempotency_key as original_key, 'adj:' || s.request_id || ':' || (k.adjustment_count + 1) as idempotency_key, k.adjustment_count + 1 as adjustment,
      null::text as row_key, s."startTime" as start_time, s.spend, e.event_id as original_event_id, e.org_id, e.request_id, e.session_id, e.key_hash, e.model,
      e.rate_card_id, e.markup, e.credits_per_usd, e.occurred_at, 0 as prompt_tokens, 0 as completion_tokens, false as is_cut,
      case when e.spend_usd < 0 then s.spend::text::numeric - k.source_spend::text::numeric
        else greatest(s.spend, 0)::text::numeric - greatest(k.source_spend, 0)::text::numeric end as spend_usd
    from "LiteLLM_SpendLogs" s
    cross join lateral (select * from billing_event_keys k where k.idempotency_key = 'llm:' || s.request_id limit 1) k
    ${JOIN_EVENT}
    where ${which} and k.source_start = s."startTime" and k.source_spend <> s.spend
      and abs(s.spend) <= 1000000 and e.event_type = 'llm'
      and (select count(*) from "LiteLLM_SpendLogs" twin where twin.request_id = s.request_id and twin."startTime" = s."startTime") = 1
    limit ${limit}`;
}

/**
 * Adds an adjustment for each correction row whose original is billed, and of the same key: a refund takes back at most what the request was
 * charged, and what was cut stands in review. One whose original has a change that is not adjusted yet waits for it. Atomic;
 * call it under `lockIngest`.
 */
export async function adjustByCorrectionRows(
  db: DatabaseExecutor,
  options: { readonly range: SourceRange; readonly limit: number },
): Promise<AdjustmentChunk> {
  const found = sql`
    select k.idempotency_key as original_key, 'adj:' || e.request_id || ':' || (k.adjustment_count + 1) as idempotency_key, k.adjustment_count + 1 as adjustment,
      'llm:' || s.request_id as row_key, s."startTime" as start_time, s.spend, e.event_id as original_event_id, e.org_id, e.request_id, e.session_id, e.key_hash, e.model,
      e.rate_card_id, e.markup, e.credits_per_usd, e.occurred_at, s.prompt_tokens, s.completion_tokens,
      s.spend::text::numeric < -charged.usd as is_cut, greatest(s.spend::text::numeric, -charged.usd) as spend_usd
    from "LiteLLM_SpendLogs" s
    cross join lateral (select * from billing_event_keys k where k.idempotency_key = 'llm:' || ${CORRECTED_REQUEST_ID} limit 1) k
    ${JOIN_EVENT}
    cross join lateral (
      select greatest(e.spend_usd + coalesce(sum(x.spend_usd), 0), 0) as usd
      from generate_series(1, k.adjustment_count) n
      cross join lateral (select * from billing_event_keys a where a.idempotency_key = 'adj:' || e.request_id || ':' || n limit 1) a
      cross join lateral (select * from billing_events x where x.org_id = a.org_id and x.event_id = a.event_id and x.recorded_at = a.recorded_at limit 1) x
    ) charged
    where ${isWithin(ROW_START, options.range)} and ${IS_CORRECTION} and abs(s.spend) <= 1000000 and ${HAS_NO_EVENT} and e.event_type = 'llm'
      and e.key_hash is not distinct from nullif(s.api_key, '')
      and (select count(*) from "LiteLLM_SpendLogs" twin where twin.request_id = s.request_id) = 1
      and not exists (select from "LiteLLM_SpendLogs" original where original.request_id = e.request_id
        and original."startTime" = k.source_start and original.spend <> k.source_spend and abs(original.spend) <= 1000000)
    order by s."startTime", s.request_id
    limit ${options.limit}`;
  return insertAdjustments(db, found);
}

/** `found`: what to adjust, by how much, and under which keys. */
async function insertAdjustments(db: DatabaseExecutor, found: RawBuilder<unknown>): Promise<AdjustmentChunk> {
  const result = await sql<AdjustmentChunk>`
    with found as materialized (${found}),
    rows as materialized (
      select nextval('billing_event_ids') as event_id, (select billing_now()) as recorded_at, spend_usd * markup * credits_per_usd as credits, found.* from found
    ), originals as (
      update billing_event_keys k
      set adjustment_count = rows.adjustment, source_spend = case when rows.row_key is null then rows.spend else k.source_spend end
      from rows where k.idempotency_key = rows.original_key
    ), keys as (
      insert into billing_event_keys (idempotency_key, org_id, event_id, recorded_at, source_start, source_spend)
      select idempotency_key, org_id, event_id, recorded_at, null, null from rows
      union all
      select row_key, org_id, event_id, recorded_at, start_time, spend from rows where row_key is not null
    ), events as (
      insert into billing_events (event_id, idempotency_key, org_id, event_type, request_id, original_event_id, session_id, key_hash, model, prompt_tokens,
        completion_tokens, spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at)
      select event_id, idempotency_key, org_id, 'adjustment', request_id, original_event_id, session_id, key_hash, model, prompt_tokens,
        completion_tokens, spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at
      from rows
    ), ${MOVE_ACCOUNTS}, cuts as (
      insert into spend_reviews (review_key, request_id, reason, spend_usd, model, occurred_at, org_id, session_id, key_hash, first_seen_at)
      select 'cut:' || substr(row_key, 5), left(substr(row_key, 5), 200), 'excess_refund', spend::text, model, occurred_at, org_id, session_id, key_hash, recorded_at
      from rows where is_cut
      on conflict do nothing
    )
    select count(*)::int as events, coalesce(sum(credits), 0) as credits from rows`.execute(db);
  return result.rows[0] ?? { events: 0, credits: "0" };
}

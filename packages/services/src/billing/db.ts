/**
 * Statements of the ledger: from spend rows to billing events. Corrections are in `ledger/corrections-db.ts`, reviews
 * in `reviews/reviews-db.ts`, settlement's in `settlement/settlement-db.ts`. One function a statement; the caller decides what is one transaction.
 */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import {
  HAS_NO_EVENT,
  hasNoEventWithin,
  IS_CORRECTION,
  isWithin,
  JOIN_OWNER,
  MOVE_ACCOUNTS,
  REVIEW_REASON,
  ROW_START,
  type SourceRange,
} from "../ledger/index.ts";
import type { RateCard } from "../rates/index.ts";

/** Where a chunk of `rows` spend rows ends that begins at `range.from`: a start time of the source; its end when fewer are left. */
export async function findChunkEnd(db: DatabaseExecutor, range: SourceRange, rows: number): Promise<string> {
  const result = await sql<{ start: string }>`
    select s."startTime"::text as start from "LiteLLM_SpendLogs" s where ${isWithin(ROW_START, range)}
    order by s."startTime" offset ${rows - 1} limit 1`.execute(db);
  return result.rows[0]?.start ?? range.to;
}

/** False where the source is partitioned: then its primary key is (request_id, "startTime"), and an id can stand twice. */
export async function areRequestIdsUnique(db: DatabaseExecutor): Promise<boolean> {
  const result = await sql`
    select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = '"LiteLLM_SpendLogs"'::regclass and i.indisunique and i.indnkeyatts = 1 and i.indpred is null and a.attname = 'request_id'`.execute(
    db,
  );
  return result.rows.length > 0;
}

interface IngestOptions {
  /** Spend rows that began in this time. */
  readonly range: SourceRange;
  /** Of rows that no rate card covers. */
  readonly rate: RateCard;
  /** As `areRequestIdsUnique` says. */
  readonly uniqueIds: boolean;
  /**
   * Looks each id up among all keys, so that an id which a request of another time has used is passed over. Slower; without
   * it, such an id fails the statement (unique_violation, 23505).
   */
  readonly checksAllKeys: boolean;
}

export interface IngestChunk {
  readonly events: number;
  readonly credits: string;
}

/**
 * Makes billing events of the range's spend rows that have none, priced by the rate card of the time at which each request
 * began, and moves the accounts by them. One atomic statement for all orgs; call it under `lockIngest`. Ids follow org and
 * start, so that the events of a chunk lie side by side in the indexes. The key of each event is unique, so a second writer
 * could fail it, not bill twice. Spend is read as text (the shortest spelling of the DOUBLE), so the amount is what the writer meant.
 */
export async function ingestSpendRows(db: DatabaseExecutor, options: IngestOptions): Promise<IngestChunk> {
  const { rate, range } = options;
  const result = await sql<IngestChunk>`
    with picked as (
      select s.request_id, o.org_id, nullif(s."user", '') as session_id, nullif(s.api_key, '') as key_hash, s.model, s.prompt_tokens, s.completion_tokens,
        s.spend, s.spend::text::numeric as spend_usd, s."startTime" as start_time, s."startTime" at time zone 'UTC' as occurred_at,
        s.spend = 0 and s.prompt_tokens + s.completion_tokens > 0 and s.status is distinct from 'failure' and lower(s.cache_hit) is distinct from 'true'
          and (s.metadata->>'free') is distinct from 'true' as is_zero_price,
        s.metadata->'unknown_usage' is not null as has_unknown_usage
      from "LiteLLM_SpendLogs" s ${JOIN_OWNER}
      where ${isWithin(ROW_START, range)} and ${REVIEW_REASON} is null and not ${IS_CORRECTION} and ${hasNoEventWithin(range)}
        ${options.checksAllKeys ? sql`and ${HAS_NO_EVENT}` : sql``}
    ), priced as (
      select ${options.uniqueIds ? sql`` : sql`distinct on (p.request_id)`} p.*, coalesce(own.rate_card_id, base.rate_card_id) as rate_card_id,
        coalesce(own.markup, base.markup, ${rate.markup}::numeric) as markup,
        coalesce(own.credits_per_usd, base.credits_per_usd, ${rate.creditsPerUsd}::numeric) as credits_per_usd
      from picked p
      left join rate_cards own on own.org_id = p.org_id and p.occurred_at >= own.valid_from and p.occurred_at < own.valid_to
      left join rate_cards base on base.org_id is null and p.occurred_at >= base.valid_from and p.occurred_at < base.valid_to
      ${options.uniqueIds ? sql`` : sql`order by p.request_id, p.start_time`}
    ), rows as materialized (
      select nextval('billing_event_ids') as event_id, (select billing_now()) as recorded_at, *, spend_usd * markup * credits_per_usd as credits
      from (select * from priced order by org_id collate "C", start_time, request_id) in_order
    ), keys as (
      insert into billing_event_keys (idempotency_key, org_id, event_id, recorded_at, source_start, source_spend)
      select 'llm:' || request_id, org_id, event_id, recorded_at, start_time, spend from rows
    ), events as (
      insert into billing_events (event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at)
      select event_id, 'llm:' || request_id, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at
      from rows
    ), ${MOVE_ACCOUNTS}, anomalies as (
      insert into spend_reviews (review_key, request_id, reason, spend_usd, model, occurred_at, org_id, session_id, key_hash, prompt_tokens, completion_tokens, first_seen_at)
      select 'zero:' || request_id, left(request_id, 200), 'zero_price', spend_usd::text, model, occurred_at, org_id, session_id, key_hash, prompt_tokens, completion_tokens, recorded_at
      from rows where is_zero_price
      union all
      select 'usage:' || request_id, left(request_id, 200), 'unknown_usage', spend_usd::text, model, occurred_at, org_id, session_id, key_hash, prompt_tokens, completion_tokens, recorded_at
      from rows where has_unknown_usage
      on conflict do nothing
    )
    select coalesce(sum(events), 0)::int as events, coalesce(sum(credits), 0) as credits from totals`.execute(db);
  return result.rows[0] ?? { events: 0, credits: "0" };
}

/** The source's own spelling (UTC without a zone) of the moment `lookBackMs` before now, by the billing clock. */
export async function readLookBackStart(db: DatabaseExecutor, lookBackMs: number): Promise<string> {
  const result = await sql<{ start: string }>`
    select ((billing_now() - ${lookBackMs} * interval '1 millisecond') at time zone 'UTC')::text as start`.execute(db);
  return result.rows[0]?.start ?? "-infinity";
}

/**
 * The moment before which no request of our engine will come into the source any more: the start of the oldest that is in flight,
 * else now. An attempt leaves in the transaction that writes its spend row, so what began before and is not there never will be.
 */
export async function readEngineMark(db: DatabaseExecutor): Promise<string> {
  const result = await sql<{ mark: string }>`select least(min(started_at), billing_now())::text as mark from request_attempts`.execute(db);
  return result.rows[0]?.mark ?? "-infinity";
}

/** The source's own spelling of the moment `marginMs` before a mark. */
export async function spellMark(db: DatabaseExecutor, mark: string, marginMs: number): Promise<string> {
  const result = await sql<{
    start: string;
  }>`select ((${mark}::timestamptz - ${marginMs} * interval '1 millisecond') at time zone 'UTC')::text as start`.execute(db);
  return result.rows[0]?.start ?? "-infinity";
}

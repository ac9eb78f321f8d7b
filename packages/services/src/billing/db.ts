/**
 * Statements of the ledger: from spend rows to billing events. Settlement's are in `settlement-db.ts`, the reports' in
 * `usage-db.ts`. One function a statement; the caller decides what is one transaction.
 */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import type { RateCard } from "./credits.ts";

/** Any constant will do; it only has to be ours and nobody else's. */
const INGEST_LOCK = 7_031_002;

/** Longer than any id LiteLLM makes; beyond it a row could not be indexed and would fail its whole statement. */
const MAX_ORG_ID_LENGTH = 200;
const MAX_REQUEST_ID_LENGTH = 1_000;
/** No request costs this much: the writer erred. Infinity is above it, and so is NaN, by PostgreSQL's order. */
const MAX_SPEND_USD = 1_000_000;

/**
 * Makes ingest statements of several workers run one after the other until this transaction ends. Correctness does not
 * need it (the idempotency key decides); it keeps two of them from waiting for each other's keys in opposite order.
 */
export async function lockIngest(tx: DatabaseExecutor): Promise<void> {
  await sql`select pg_advisory_xact_lock(${sql.lit(INGEST_LOCK)})`.execute(tx);
}

/** What a spend row lacks to be billed, as SQL on `s`; null where it lacks nothing. */
const REVIEW_REASON = sql`case
  when length(s.request_id) not between 1 and ${sql.lit(MAX_REQUEST_ID_LENGTH)} then 'no_request_id'
  when length(coalesce(s.team_id, '')) not between 1 and ${sql.lit(MAX_ORG_ID_LENGTH)} then 'no_org'
  when abs(s.spend) > ${sql.lit(MAX_SPEND_USD)} then 'bad_spend'
end`;

export interface IngestChunk {
  /** Spend rows that had no event when the statement began. */
  readonly rows: number;
  /** Events that were made of them; fewer than `rows` where an id stands in the source twice. */
  readonly events: number;
  readonly credits: string;
  /** Start time of the newest row of the chunk, as the source spells it; null when there was none. */
  readonly lastStartTime: string | null;
}

/**
 * Makes billing events of the oldest spend rows that have none, at most `limit`, and an account for each org that had
 * none. One atomic statement for all orgs, idempotent by the event's key. `fromStartTime` null reads the whole table.
 * Spend is read as text (the shortest spelling of the DOUBLE), so the amount is what the writer meant.
 */
export async function ingestSpendRows(
  db: DatabaseExecutor,
  options: { readonly fromStartTime: string | null; readonly limit: number; readonly rate: RateCard },
): Promise<IngestChunk> {
  const { fromStartTime, limit, rate } = options;
  const result = await sql<{ rows: number; events: number; credits: string; last_start_time: string | null }>`
    with rows as (
      select s.request_id, s.team_id as org_id, nullif(s."user", '') as session_id, nullif(s.api_key, '') as key_hash, s.model,
        s.prompt_tokens, s.completion_tokens, s.spend::text::numeric as spend_usd, s."startTime" as start_time
      from "LiteLLM_SpendLogs" s
      where (${fromStartTime}::timestamp is null or s."startTime" >= ${fromStartTime}::timestamp)
        and ${REVIEW_REASON} is null
        and not exists (select 1 from billing_events e where e.idempotency_key = 'llm:' || s.request_id)
      order by s."startTime", s.request_id
      limit ${limit}
    ), events as (
      insert into billing_events (idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, markup, credits_per_usd, credits, occurred_at)
      select 'llm:' || request_id, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, ${rate.markup}::numeric, ${rate.creditsPerUsd}::numeric,
        spend_usd * ${rate.markup}::numeric * ${rate.creditsPerUsd}::numeric, start_time at time zone 'UTC'
      from rows
      order by start_time, request_id
      on conflict (idempotency_key) do nothing
      returning org_id, credits
    ), accounts as (
      insert into billing_accounts (org_id) select distinct org_id from events order by org_id on conflict do nothing
    )
    select (select count(*) from rows)::int as rows, (select max(start_time)::text from rows) as last_start_time,
      count(*)::int as events, coalesce(sum(credits), 0) as credits
    from events`.execute(db);
  const row = result.rows[0];
  return { rows: row?.rows ?? 0, events: row?.events ?? 0, credits: row?.credits ?? "0", lastStartTime: row?.last_start_time ?? null };
}

/** Puts spend rows that cannot be billed on record with the reason, once each. Returns how many are new. Idempotent. */
export async function quarantineSpendRows(db: DatabaseExecutor, options: { readonly fromStartTime: string | null; readonly limit: number }): Promise<number> {
  const { fromStartTime, limit } = options;
  const result = await sql`
    with rows as (
      select s.*, ${REVIEW_REASON} as reason,
        case when length(s.request_id) between 1 and ${sql.lit(MAX_REQUEST_ID_LENGTH)} then 'id:' || s.request_id
          else 'row:' || encode(sha256(convert_to(concat_ws('|', s.request_id, s.team_id, s."user", s.api_key, s.model, s."startTime"::text, s."endTime"::text,
            s.prompt_tokens::text, s.completion_tokens::text, s.spend::text), 'UTF8')), 'hex')
        end as review_key
      from "LiteLLM_SpendLogs" s
      where (${fromStartTime}::timestamp is null or s."startTime" >= ${fromStartTime}::timestamp)
        and ${REVIEW_REASON} is not null
    )
    insert into spend_reviews (review_key, request_id, reason, spend_usd, model, occurred_at)
    select r.review_key, left(r.request_id, 200), r.reason, r.spend::text, r.model, r."startTime" at time zone 'UTC'
    from rows r
    where not exists (select 1 from spend_reviews known where known.review_key = r.review_key)
    order by r."startTime"
    limit ${limit}
    on conflict (review_key) do nothing`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/** Closes the reviews whose row was repaired at its source and has its event by now. Returns how many. Idempotent. */
export async function resolveReviews(db: DatabaseExecutor): Promise<number> {
  const result = await sql`
    update spend_reviews r set resolved_at = clock_timestamp()
    where r.resolved_at is null and r.review_key like 'id:%'
      and exists (select 1 from billing_events e where e.idempotency_key = 'llm:' || substr(r.review_key, 4))`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/** The source's own spelling (UTC without a zone) of the moment `lookBackMs` before now, by the database clock. */
export async function readLookBackStart(db: DatabaseExecutor, lookBackMs: number): Promise<string> {
  const result = await sql<{ start: string }>`
    select ((clock_timestamp() - ${lookBackMs} * interval '1 millisecond') at time zone 'UTC')::text as start`.execute(db);
  return result.rows[0]?.start ?? "-infinity";
}

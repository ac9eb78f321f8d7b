/** Statements on spend rows that cannot be billed as they are. They are kept with all that billing them later needs. */
import type { DatabaseExecutor, SpendReviewReason } from "@proliferate/db";
import { payerOf } from "@proliferate/access/principals";
import { sql } from "kysely";
import {
  CORRECTED_REQUEST_ID,
  HAS_NO_EVENT,
  hasNoEventWithin,
  IS_CORRECTION,
  IS_OF_ANOTHER_KEY,
  isRetired,
  isWithin,
  JOIN_OWNER,
  MOVE_ACCOUNTS,
  plainSpend,
  REVIEW_REASON,
  ROW_HASH,
  ROW_START,
  type SourceRange,
} from "../ledger/index.ts";
import type { RateCard } from "../rates/index.ts";

/** Puts spend rows that cannot be billed on record with the reason, once each. Returns how many are new. Idempotent. */
export async function quarantineSpendRows(
  db: DatabaseExecutor,
  options: { readonly range: SourceRange; readonly limit: number },
): Promise<number> {
  const result = await sql`
    with rows as (
      select s.*, o.org_id, q.reason,
        case when q.reason in ('no_request_id', 'recycled_id') then 'row:' || ${ROW_HASH} else 'id:' || s.request_id end as review_key
      from "LiteLLM_SpendLogs" s ${JOIN_OWNER}
      cross join lateral (select case
        when not (${HAS_NO_EVENT}) then
          case when exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || s.request_id and k.source_start <> s."startTime") then 'recycled_id' end
        when ${REVIEW_REASON} is not null then ${REVIEW_REASON}
        when ${IS_CORRECTION} and not exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || ${CORRECTED_REQUEST_ID}) then 'unlinked_refund'
        when ${IS_CORRECTION} and ${IS_OF_ANOTHER_KEY} then 'unlinked_refund'
        when ${IS_CORRECTION} and exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || ${CORRECTED_REQUEST_ID} and ${isRetired("k")}) then 'retired_month'
      end as reason) q
      -- Those that are billed as they stand, nearly all, are left out by one hash join before anything is looked up.
      where ${isWithin(ROW_START, options.range)} and ${hasNoEventWithin(options.range, "same start")} and q.reason is not null
    )
    insert into spend_reviews (review_key, request_id, reason, spend_usd, model, occurred_at, org_id, session_id, key_hash, prompt_tokens, completion_tokens, first_seen_at)
    select r.review_key, left(r.request_id, 200), r.reason, r.spend::text, r.model, r."startTime" at time zone 'UTC', left(r.org_id, 200), nullif(r."user", ''),
      nullif(r.api_key, ''), r.prompt_tokens, r.completion_tokens, billing_now()
    from rows r
    where not exists (select from spend_reviews known where known.review_key = r.review_key)
    order by r."startTime"
    limit ${options.limit}
    on conflict (review_key) do nothing`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/**
 * Closes the reviews whose row has its event by now, because it was repaired at its source, and those of amounts that the
 * source has corrected. Returns how many. Idempotent.
 */
export async function resolveReviews(db: DatabaseExecutor): Promise<number> {
  const result = await sql`
    update spend_reviews r set resolved_at = billing_now(), resolution = 'billed'
    where r.resolved_at is null and (
      (r.review_key like 'id:%' and exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || substr(r.review_key, 4)))
      or (r.review_key like 'zero:%' and exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || substr(r.review_key, 6) and k.adjustment_count > 0))
      or (r.review_key like 'usage:%' and exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || substr(r.review_key, 7) and k.adjustment_count > 0)))`.execute(
    db,
  );
  return Number(result.numAffectedRows ?? 0n);
}

interface ReviewRow {
  readonly review_key: string;
  readonly request_id: string;
  readonly reason: SpendReviewReason;
  readonly resolved_at: Date | null;
}

/** The review, locked until the transaction ends. */
export async function lockReview(tx: DatabaseExecutor, reviewKey: string): Promise<ReviewRow | undefined> {
  const result = await sql<ReviewRow>`
    select review_key, request_id, reason, resolved_at from spend_reviews where review_key = ${reviewKey} for update`.execute(tx);
  return result.rows[0];
}

/** Open reviews without owner whose row was made with this key. */
export async function readReviewsOfKey(db: DatabaseExecutor, keyHash: string): Promise<readonly string[]> {
  const result = await sql<{ review_key: string }>`
    select review_key from spend_reviews where key_hash = ${keyHash} and reason = 'no_org' and resolved_at is null order by occurred_at`.execute(
    db,
  );
  return result.rows.map((row) => row.review_key);
}

/**
 * Makes the event of a review from what the review keeps, billed to the payer of `orgId`, under the row's id or, where that is unusable,
 * under its hash; and closes the review. Returns how many events were made: 0 when there was one. Fails on a null where no rate
 * card covers the row and no `rate` is given. Atomic; call it under `lockIngest`.
 */
export async function billReview(
  tx: DatabaseExecutor,
  options: { readonly reviewKey: string; readonly orgId: string; readonly rate: RateCard | undefined },
): Promise<number> {
  const { reviewKey, orgId } = options;
  const rate = options.rate ?? { markup: null, creditsPerUsd: null };
  const result = await sql<{ events: number }>`
    with picked as materialized (
      select case when r.review_key like 'id:%' then 'llm:' || substr(r.review_key, 4) else r.review_key end as idempotency_key,
        case when r.review_key like 'id:%' then substr(r.review_key, 4) when r.reason = 'retired_month' then r.request_id else r.review_key end as request_id,
        r.spend_usd::numeric as spend_usd, r.spend_usd::float8 as spend,
        -- The event was billed before its month was retired. It was billed to the org that the review names.
        case when r.reason = 'retired_month' then ${orgId}::text else ${payerOf(sql`${orgId}::text`)} end as org_id, r.session_id, r.key_hash, r.model, r.prompt_tokens, r.completion_tokens, r.occurred_at
      from spend_reviews r where r.review_key = ${reviewKey}
    ), priced as (
      select p.*, coalesce(own.rate_card_id, base.rate_card_id) as rate_card_id,
        coalesce(own.markup, base.markup, ${rate.markup}::numeric) as markup,
        coalesce(own.credits_per_usd, base.credits_per_usd, ${rate.creditsPerUsd}::numeric) as credits_per_usd
      from picked p
      left join rate_cards own on own.org_id = p.org_id and p.occurred_at >= own.valid_from and p.occurred_at < own.valid_to
      left join rate_cards base on base.org_id is null and p.occurred_at >= base.valid_from and p.occurred_at < base.valid_to
      where not exists (select from billing_event_keys k where k.idempotency_key = p.idempotency_key)
    ), rows as materialized (
      select nextval('billing_event_ids') as event_id, billing_now() as recorded_at, *, spend_usd * markup * credits_per_usd as credits from priced
    ), keys as (
      insert into billing_event_keys (idempotency_key, org_id, event_id, recorded_at, source_start, source_spend)
      select idempotency_key, org_id, event_id, recorded_at, occurred_at at time zone 'UTC', spend from rows
    ), events as (
      insert into billing_events (event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at)
      select event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, rate_card_id, markup, credits_per_usd, credits, occurred_at, recorded_at
      from rows
    ), ${MOVE_ACCOUNTS}, closed as (
      update spend_reviews set resolved_at = billing_now(), resolution = 'billed', org_id = (select org_id from picked) where review_key = ${reviewKey}
    )
    select count(*)::int as events from rows`.execute(tx);
  return result.rows[0]?.events ?? 0;
}

/** Closes an open review without billing. Returns false when it was closed or is unknown. */
export async function dismissReviewRow(db: DatabaseExecutor, reviewKey: string): Promise<boolean> {
  const result = await sql`
    update spend_reviews set resolved_at = billing_now(), resolution = 'dismissed' where review_key = ${reviewKey} and resolved_at is null`.execute(
    db,
  );
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Says whose a key is, for spend rows that do not say it. The latest word counts. */
export async function setKeyOwner(tx: DatabaseExecutor, keyHash: string, orgId: string): Promise<void> {
  await sql`
    insert into key_owners (key_hash, org_id) values (${keyHash}, ${orgId})
    on conflict (key_hash) do update set org_id = excluded.org_id`.execute(tx);
}

/** Whose a key is by what a person said. */
export async function readKeyOwner(db: DatabaseExecutor, keyHash: string): Promise<string | undefined> {
  const row = await db.selectFrom("key_owners").select("org_id").where("key_hash", "=", keyHash).executeTakeFirst();
  return row?.org_id;
}

export interface ReviewListRow {
  readonly review_key: string;
  readonly request_id: string;
  readonly reason: SpendReviewReason;
  /** Plain decimal text; `NaN` and `Infinity` as they are. */
  readonly spend_usd: string;
  readonly model: string;
  readonly occurred_at: Date;
  /** Whose it is, as far as that is known. */
  readonly org_id: string | null;
  readonly session_id: string | null;
  readonly key_hash: string | null;
  readonly first_seen_at: Date;
  readonly resolved_at: Date | null;
  readonly resolution: "billed" | "dismissed" | null;
}

/** Reviews after the one with `afterKey`, by the time at which they were first seen; at most `limit`. */
export async function readReviewPage(
  db: DatabaseExecutor,
  filter: {
    readonly orgId: string | undefined;
    readonly reason: SpendReviewReason | undefined;
    readonly openOnly: boolean;
    readonly afterKey: string | undefined;
    readonly limit: number;
  },
): Promise<readonly ReviewListRow[]> {
  const result = await sql<ReviewListRow>`
    select review_key, request_id, reason, ${plainSpend("r")} as spend_usd, model, occurred_at, org_id, session_id, key_hash, first_seen_at, resolved_at, resolution
    from spend_reviews r
    where (not ${filter.openOnly} or resolved_at is null)
      and (${filter.orgId ?? null}::text is null or org_id = ${filter.orgId ?? null}::text)
      and (${filter.reason ?? null}::text is null or reason = ${filter.reason ?? null}::text)
      and (${filter.afterKey ?? null}::text is null or (first_seen_at, review_key) > (select a.first_seen_at, a.review_key from spend_reviews a where a.review_key = ${filter.afterKey ?? null}::text))
    order by first_seen_at, review_key
    limit ${filter.limit}`.execute(db);
  return result.rows;
}

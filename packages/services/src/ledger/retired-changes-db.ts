/** Statements on what the source says differently of requests whose event left the ledger with its month: no adjustment can follow there. */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import { isWithin, JOIN_OWNER, ROW_START, type SourceRange } from "./source-rows-db.ts";

/** The event of a key (or of a range of keys) left the ledger with its month: its key still says what was billed. */
export function isRetired(key: string): RawBuilder<boolean> {
  const recordedAt = sql.ref(`${key}.recorded_at`);
  return sql<boolean>`exists (select from retired_event_sums t where t.recorded_from <= ${recordedAt} and ${recordedAt} < t.recorded_to)`;
}

/** Of a row `s`: the key of the review of what it says now beyond what was billed. Another amount later is another review. */
export const RETIRED_REVIEW_KEY: RawBuilder<string> = sql`'retired:' || s.request_id || ':' || trim_scale(s.spend::text::numeric)::text`;

/**
 * Puts the difference in review, once for each amount that the source says; what people billed of earlier ones is part of what
 * was billed, and reviews of amounts that the source no longer says are closed. Rows that stand twice are left alone. Returns how
 * many are new. Idempotent.
 */
export async function quarantineRetiredChanges(
  db: DatabaseExecutor,
  options: { readonly range: SourceRange; readonly limit: number },
): Promise<number> {
  const result = await sql<{ reviews: number }>`
    with rows as materialized (
      select ${RETIRED_REVIEW_KEY} as review_key, s.request_id, s.model, s."startTime" at time zone 'UTC' as occurred_at, coalesce(k.org_id, o.org_id) as org_id,
        nullif(s."user", '') as session_id, nullif(s.api_key, '') as key_hash,
        greatest(s.spend, 0)::text::numeric - greatest(k.source_spend, 0)::text::numeric - coalesce((
          select sum(r.spend_usd::numeric) from spend_reviews r where r.request_id = s.request_id and r.reason = 'retired_month' and r.resolution = 'billed'), 0) as difference_usd
      from "LiteLLM_SpendLogs" s ${JOIN_OWNER}
      cross join lateral (select * from billing_event_keys k where k.idempotency_key = 'llm:' || s.request_id limit 1) k
      where ${isWithin(ROW_START, options.range)} and exists (select from retired_event_sums)
        and k.source_start = s."startTime" and k.source_spend <> s.spend and abs(s.spend) <= 1000000 and ${isRetired("k")}
        and (select count(*) from "LiteLLM_SpendLogs" twin where twin.request_id = s.request_id and twin."startTime" = s."startTime") = 1
        and not exists (select from spend_reviews known where known.review_key = ${RETIRED_REVIEW_KEY})
      limit ${options.limit}
    ), superseded as (
      update spend_reviews r set resolved_at = billing_now(), resolution = 'dismissed'
      from rows where r.request_id = rows.request_id and r.reason = 'retired_month' and r.resolved_at is null and r.review_key like 'retired:%'
    ), made as (
      insert into spend_reviews (review_key, request_id, reason, spend_usd, model, occurred_at, org_id, session_id, key_hash, first_seen_at)
      select review_key, request_id, 'retired_month', difference_usd::text, model, occurred_at, org_id, session_id, key_hash, billing_now()
      from rows
      on conflict do nothing
      returning 1
    )
    select count(*)::int as reviews from made`.execute(db);
  return result.rows[0]?.reviews ?? 0;
}

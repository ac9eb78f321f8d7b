import type { DatabaseClient } from "@proliferate/db";
import { sql } from "kysely";

/** What the database knows of one session's money, read for the trail. Amounts are decimal text. */
export interface SpendFacts {
  readonly rows: number;
  readonly requestId: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
  readonly spendUsd: string;
  readonly lastEndTime: Date;
}

export interface EventFacts {
  readonly events: number;
  readonly spendUsd: string;
  readonly markup: string;
  readonly credits: string;
}

export interface SettlementFacts {
  readonly batches: number;
  readonly idempotencyKeys: readonly string[];
  readonly calls: number;
  readonly credits: string;
  readonly deducted: string;
  readonly deliveredAt: Date;
}

/** All zero rows until the first row is there. The last request is the one that the trail names. */
export async function readSpend(db: DatabaseClient, sessionId: string): Promise<SpendFacts | undefined> {
  const { rows } = await sql<SpendFacts>`
    select count(*)::int as rows,
      (array_agg(request_id order by "startTime" desc))[1] as "requestId",
      sum(prompt_tokens)::int as "promptTokens",
      sum(completion_tokens)::int as "completionTokens",
      coalesce(sum((metadata -> 'additional_usage_values' ->> 'cache_read_input_tokens')::int), 0)::int as "cacheReadTokens",
      coalesce(sum((metadata -> 'additional_usage_values' ->> 'cache_creation_input_tokens')::int), 0)::int as "cacheWriteTokens",
      trim_scale(sum(spend::text::numeric)) as "spendUsd",
      max("endTime") as "lastEndTime"
    from "LiteLLM_SpendLogs" where "user" = ${sessionId} having count(*) > 0`.execute(db);
  return rows[0];
}

/** Requests of the session that reached a provider and have no spend row yet. Always 0 with a remote engine. */
export async function countInFlight(db: DatabaseClient, sessionId: string): Promise<number> {
  const { rows } = await sql<{ count: number }>`select count(*)::int as count from request_attempts where user_id = ${sessionId}`.execute(
    db,
  );
  return rows[0]?.count ?? 0;
}

export async function readEvents(db: DatabaseClient, sessionId: string): Promise<EventFacts | undefined> {
  const { rows } = await sql<EventFacts>`
    select count(*)::int as events, trim_scale(sum(spend_usd)) as "spendUsd", trim_scale(max(markup)) as markup,
      trim_scale(sum(credits)) as credits
    from billing_events where session_id = ${sessionId} having count(*) > 0`.execute(db);
  return rows[0];
}

/** The batches that carry the session's events, once every one of those is delivered; undefined before. */
export async function readSettlement(db: DatabaseClient, sessionId: string, events: number): Promise<SettlementFacts | undefined> {
  const { rows } = await sql<SettlementFacts & { settled: number }>`
    with mine as (
      select b.batch_id, count(*) as events
      from billing_events e join settlement_batches b on b.org_id = e.org_id and e.event_id > b.after_event_id and e.event_id <= b.through_event_id
      where e.session_id = ${sessionId} group by b.batch_id
    )
    select count(*)::int as batches, sum(mine.events)::int as settled, array_agg(idempotency_key order by sequence) as "idempotencyKeys",
      sum(attempt_count)::int as calls, trim_scale(sum(credits)) as credits, trim_scale(sum(coalesce(deducted_credits, credits))) as deducted,
      max(delivered_at) as "deliveredAt"
    from mine join settlement_batches using (batch_id) where state = 'delivered' having count(*) > 0`.execute(db);
  const facts = rows[0];
  return facts && facts.settled === events ? facts : undefined;
}

/** What an earlier run left behind for the organization: events without a batch, and batches on their way. */
export async function countUnsettled(
  db: DatabaseClient,
  orgId: string,
): Promise<{ readonly events: number; readonly batches: number; readonly stuck: string }> {
  const { rows } = await sql<{ events: number; batches: number; stuck: string }>`
    select
      (select coalesce(sum(open_event_count) filter (where open_credits <> 0), 0)::int from billing_accounts where org_id = ${orgId})
        + (select count(*)::int from "LiteLLM_SpendLogs" spend where team_id = ${orgId}
             and not exists (select from billing_event_keys event where event.idempotency_key = 'llm:' || spend.request_id)) as events,
      (select count(*)::int from settlement_batches where org_id = ${orgId} and state in ('sealed', 'sending', 'unknown')) as batches,
      coalesce((select string_agg(distinct state || coalesce(' (' || last_error_code || ')', ''), ', ')
         from settlement_batches where org_id = ${orgId} and state <> 'delivered'), '') as stuck`.execute(db);
  return rows[0] ?? { events: 0, batches: 0, stuck: "" };
}

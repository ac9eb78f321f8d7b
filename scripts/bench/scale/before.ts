/** What the first run of this benchmark saw, as docs/benchmarks.md had it in commit 0d05e8c: growth by time, or by pages where it took less than 5 ms. */
export const FIRST_RUN = {
  label: "first run, 2026-11-27, 1,000,000 rows",
  idle: "11.9 % of one core",
  slow: "5 statements, the slowest 363 ms",
  growing: "16 statements, `readSourceLag` 235 ×",
} as const;

/**
 * What the statements of commit bcfda44 were whose cost followed history, for the column "before": the same question asked as it was
 * asked then. Names are of the statements that took their place.
 */
export const BEFORE: Readonly<Record<string, string>> = {
  "countDifferences": `with compared as (select s."startTime" as start, s.spend, k.source_start, k.source_spend from "LiteLLM_SpendLogs" s
    left join (select * from billing_event_keys k where k.source_start >= now() at time zone 'utc' - interval '24 hours') k on k.idempotency_key = 'llm:' || s.request_id
    where s."startTime" >= now() at time zone 'utc' - interval '24 hours' offset 0)
    select count(*) filter (where source_start is null) as fresh, count(*) filter (where source_spend <> spend) as changed from compared`,
  "selectEndedWithKeys": `select distinct s.session_id from gateway_sessions s join "LiteLLM_VerificationToken" k on k.user_id = s.session_id and k.team_id = s.org_id
    where s.state = 'ended' and s.ended_at < now() - interval '1 minute' and (k.expires is null or k.expires > now() at time zone 'utc')`,
  "readBatchStates": `select state, needs_reconcile, count(*) as batches, sum(credits) as credits from settlement_batches group by state, needs_reconcile`,
  "readDelivery": `select sum(credits - coalesce(deducted_credits, 0)) filter (where state not in ('delivered', 'shortfall')), min(sealed_at) filter (where state not in ('delivered', 'shortfall')), max(delivered_at) from settlement_batches b`,
  "claimDueBatches": `select b.batch_id, row_number() over (partition by b.org_id order by b.sequence) as turn from settlement_batches b
    where b.state in ('sealed', 'sending', 'unknown', 'parked') and not b.needs_reconcile and b.next_attempt_at <= now() and (b.lease_until is null or b.lease_until <= now())
      and not exists (select 1 from settlement_org_backoff o where o.org_id = b.org_id and o.retry_at > now())
      and not exists (select 1 from settlement_batches s where s.org_id = b.org_id and s.state = 'sending' and s.lease_until > now()) order by 2 limit 64`,
  // Without the index it had: the condition as an expression is no use to the one there is now.
  "listKeysDueForReset": `select token from "LiteLLM_VerificationToken" where budget_duration || '' is not null and budget_reset_at + interval '0 seconds' <= now() at time zone 'utc' order by budget_reset_at limit 1000`,
  "sumUnbilledSpend": `select coalesce(sum(s.spend::text::numeric), 0) from "LiteLLM_SpendLogs" s where s."user" || '' = 'session-5' and s."startTime" >= now() at time zone 'utc' - interval '24 hours'
    and not exists (select 1 from billing_event_keys e where e.idempotency_key = 'llm:' || s.request_id)`,
  "readRecentlyBroken: a minute": `select count(*) from settlement_batches b cross join lateral (select sum(e.credits) as credits from billing_events e
    where e.org_id = b.org_id and e.event_id > b.after_event_id and e.event_id <= b.through_event_id offset 0) f where b.sealed_at >= now() - interval '48 hours' and f.credits <> b.events_credits`,
};

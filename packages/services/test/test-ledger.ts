import { randomUUID } from "node:crypto";
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

/** For tests only: a spend row as an engine writes it. Amounts are decimal text; `ageMs` dates the request's start. */
export interface SpendRow {
  readonly requestId?: string;
  readonly orgId?: string | null;
  readonly sessionId?: string;
  readonly spendUsd?: string;
  readonly ageMs?: number;
  readonly model?: string;
}

/** Inserts spend rows in one statement. Returns their request ids. */
export async function insertSpendRows(db: DatabaseExecutor, rows: readonly SpendRow[]): Promise<readonly string[]> {
  const full = rows.map((row) => ({
    request_id: row.requestId ?? `msg_${randomUUID()}`,
    team_id: row.orgId === undefined ? "org_a" : row.orgId,
    user: row.sessionId ?? "session_1",
    spend: row.spendUsd ?? "0.001",
    age_ms: row.ageMs ?? 1_000,
    model: row.model ?? "anthropic/claude-sonnet-4-5-20250929",
  }));
  await sql`
    insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, team_id, "user", spend, model, prompt_tokens, completion_tokens, total_tokens, "startTime", "endTime")
    select request_id, 'anthropic_messages', 'hash_of_a_key', team_id, "user", spend::float8, model, 10, 5, 15,
      (now() - age_ms * interval '1 millisecond') at time zone 'UTC', now() at time zone 'UTC'
    from json_to_recordset(${JSON.stringify(full)}::json) as r (request_id text, team_id text, "user" text, spend text, age_ms float8, model text)`.execute(
    db,
  );
  return full.map((row) => row.request_id);
}

interface LedgerSums {
  /** Exact: spend x markup x credits per USD over all events. */
  readonly events: string;
  readonly batches: string;
  readonly delivered: string;
  /** What sinks stated that they took. */
  readonly deducted: string;
  readonly carry: string;
  readonly open: string;
}

export async function readLedgerSums(db: DatabaseExecutor): Promise<LedgerSums> {
  const result = await sql<LedgerSums>`
    select (select trim_scale(coalesce(sum(spend_usd * markup * credits_per_usd), 0)) from billing_events) as events,
      (select trim_scale(coalesce(sum(credits), 0)) from settlement_batches) as batches,
      (select trim_scale(coalesce(sum(credits), 0)) from settlement_batches where state = 'delivered') as delivered,
      (select trim_scale(coalesce(sum(deducted_credits), 0)) from settlement_batches) as deducted,
      (select trim_scale(coalesce(sum(carry_credits), 0)) from billing_accounts) as carry,
      (select trim_scale(coalesce(sum(open_credits), 0)) from billing_accounts) as open`.execute(db);
  return result.rows[0] as LedgerSums;
}

interface UnbalancedOrg {
  readonly org_id: string;
  readonly events_credits: string;
  readonly batch_credits: string;
  readonly carry_credits: string;
  readonly open_credits: string;
  readonly kept_credits: string;
}

/** Orgs whose events are not exactly their batches + carry + open events + what was kept. The ledger is sound when there is none. */
async function readUnbalancedOrgs(db: DatabaseExecutor): Promise<readonly UnbalancedOrg[]> {
  const result = await sql<UnbalancedOrg>`
    with events as (
      select org_id, sum(events_credits) as events_credits
      from (
        select org_id, sum(spend_usd * markup * credits_per_usd) as events_credits from billing_events group by org_id
        union all
        select org_id, credits from retired_event_sums
      ) recorded
      group by org_id
    ), batches as (
      select org_id, sum(credits) as batch_credits from settlement_batches group by org_id
    )
    select org_id, coalesce(events_credits, 0) as events_credits, coalesce(batch_credits, 0) as batch_credits,
      coalesce(carry_credits, 0) as carry_credits, coalesce(open_credits, 0) as open_credits, coalesce(kept_credits, 0) as kept_credits
    from events full join batches using (org_id) full join billing_accounts using (org_id)
    where coalesce(events_credits, 0) <> coalesce(batch_credits, 0) + coalesce(carry_credits, 0) + coalesce(open_credits, 0) + coalesce(kept_credits, 0)
    order by org_id`.execute(db);
  return result.rows;
}

/** Throws when the ledger of any org does not add up: events = batches + carry + open events + what was kept. */
export async function checkLedger(db: DatabaseExecutor): Promise<void> {
  const unbalanced = await readUnbalancedOrgs(db);
  if (unbalanced.length > 0) throw new Error(`The ledger does not add up: ${JSON.stringify(unbalanced)}`);
}

/** Every event without what differs from run to run, for a byte-for-byte comparison. */
export async function dumpEvents(db: DatabaseExecutor): Promise<string> {
  const result = await sql<{ line: string }>`
    select concat_ws(' ', event_id, idempotency_key, org_id, session_id, spend_usd, markup, credits_per_usd, credits, occurred_at, recorded_at) as line
    from billing_events order by idempotency_key`.execute(db);
  return result.rows.map((row) => row.line).join("\n");
}

/** Throws when the source and the ledger of any org differ: the promise of billing, as the view has it. */
export async function checkInvariant(db: DatabaseExecutor): Promise<void> {
  const result = await sql<Record<string, unknown>>`select * from billing_invariant where difference <> 0 or difference is null`.execute(
    db,
  );
  if (result.rows.length > 0) throw new Error(`The ledger is not what the source says: ${JSON.stringify(result.rows)}`);
}

/** Events, accounts and reviews, without the times at which they were recorded. */
export async function dumpBilling(db: DatabaseExecutor): Promise<string> {
  const result = await sql<{ line: string }>`
    select line from (
      select 1 as part, concat_ws(' ', event_id, idempotency_key, org_id, event_type, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens,
        spend_usd, markup, credits_per_usd, credits, occurred_at) as line from billing_events
      union all select 2, concat_ws(' ', org_id, carry_credits, balance_credits) from billing_accounts
      union all select 3, concat_ws(' ', review_key, request_id, reason, spend_usd, model, occurred_at, org_id, key_hash, resolution) from spend_reviews
    ) lines order by part, line`.execute(db);
  return result.rows.map((row) => row.line).join("\n");
}

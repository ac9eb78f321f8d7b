/** Statements on what a customer's own systems are told. */
import type { DatabaseExecutor, WebhookEventTable } from "@proliferate/db";
import { type Selectable, sql } from "kysely";

interface NewWebhookEvent {
  /** `balance.low` and the like. */
  readonly type: string;
  readonly orgId: string;
  /** Names the happening, so that it is told once; undefined where each call is a happening of its own. */
  readonly key: string | undefined;
  /** Facts; never a key, a prompt or a name of a person. */
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Records an event, due at once. Part of the caller's transaction, so it is told exactly if that commits. Idempotent by its key. */
export async function insertWebhookEvent(tx: DatabaseExecutor, event: NewWebhookEvent): Promise<void> {
  await sql`
    insert into webhook_events (event_key, type, org_id, payload, created_at, next_attempt_at)
    values (coalesce(${event.key ?? null}::text, gen_random_uuid()::text), ${event.type}, ${event.orgId}, ${JSON.stringify(event.payload)}::jsonb, billing_now(), billing_now())
    on conflict (event_key) do nothing`.execute(tx);
}

/** A message to the customer's systems, as it is on record. */
export type WebhookEventRow = Selectable<WebhookEventTable>;

/** Claims due events, oldest first. One whose claimer died is due again when the lease ends. */
export async function claimDueEvents(
  db: DatabaseExecutor,
  options: { readonly limit: number; readonly leaseMs: number },
): Promise<readonly WebhookEventRow[]> {
  const result = await sql<WebhookEventRow>`
    with due as (
      select event_id from webhook_events
      where state = 'pending' and next_attempt_at <= billing_now() and (lease_until is null or lease_until <= billing_now())
      order by created_at, event_id
      limit ${options.limit}
      for update skip locked
    )
    update webhook_events e
    set lease_until = billing_now() + ${options.leaseMs} * interval '1 millisecond', attempt_count = e.attempt_count + 1
    from due where e.event_id = due.event_id
    returning e.*`.execute(db);
  return result.rows;
}

/** How one sending of a message ended. */
interface WebhookAttempt {
  readonly eventId: string;
  /** Fences a late answer out: of an older attempt than the row's, nothing is recorded. */
  readonly attempt: number;
  readonly delivered: boolean;
  readonly status: number | null;
  readonly error: string | null;
  readonly retryInMs: number;
  /** After this age it is given up: dead, and visible as such. */
  readonly giveUpAfterMs: number;
}

/** Records one sending and frees its claim: delivered, to be tried again, or given up after `giveUpAfterMs`. */
export async function recordWebhookAttempt(db: DatabaseExecutor, record: WebhookAttempt): Promise<void> {
  await sql`
    update webhook_events
    set state = case when ${record.delivered} then 'delivered'
        when billing_now() > created_at + ${record.giveUpAfterMs} * interval '1 millisecond' then 'dead' else 'pending' end,
      lease_until = null, last_status = ${record.status}, last_error = ${record.error},
      delivered_at = case when ${record.delivered} then billing_now() end,
      next_attempt_at = billing_now() + ${record.retryInMs} * interval '1 millisecond'
    where event_id = ${record.eventId} and attempt_count = ${record.attempt} and state = 'pending'`.execute(db);
}

/**
 * Tells of spend rows that used tokens and cost nothing: a model without a price, most likely. Once per org, model and day.
 * Returns how many are new. Idempotent.
 */
export async function insertAnomalyEvents(db: DatabaseExecutor, lookBackMs: number): Promise<number> {
  const result = await sql`
    insert into webhook_events (event_key, type, org_id, payload, created_at, next_attempt_at)
    select 'anomaly:' || e.org_id || '/' || e.model || '/' || to_char(e.occurred_at at time zone 'UTC', 'YYYY-MM-DD'), 'usage.zero_price', e.org_id,
      jsonb_build_object('model', e.model, 'day', to_char(e.occurred_at at time zone 'UTC', 'YYYY-MM-DD'), 'request_id', min(e.request_id),
        'requests', count(*), 'tokens', sum(e.prompt_tokens::bigint + e.completion_tokens)), billing_now(), billing_now()
    from spend_reviews e
    where e.reason = 'zero_price' and e.resolved_at is null and e.first_seen_at > billing_now() - ${lookBackMs} * interval '1 millisecond'
    group by e.org_id, e.model, to_char(e.occurred_at at time zone 'UTC', 'YYYY-MM-DD')
    order by 1
    on conflict (event_key) do nothing`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

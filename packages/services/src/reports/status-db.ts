/**
 * Statements of `billing status` and of the metrics. They answer three questions: how late is billing, which credits wait for a
 * person, and do the spend rows and the ledger hold the same amounts. They only read.
 *
 * Example: 3 spend rows of 0.10 USD each, of which one has no event yet: `source_rows` 3, `source_usd` 0.30, `billed_usd` 0.20,
 * `unbilled_rows` 1, `unbilled_usd` 0.10, and `overdue_rows` 1 once the request has been over for longer than the grace.
 */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import { BATCHES_UNDER_WAY, GATES } from "../billing/index.ts";
import { IS_CORRECTION, IS_IN_BATCH, isRetired, RETIRED_REVIEW_KEY, ROW_HASH } from "../ledger/index.ts";
import { OPEN_ACCOUNTS } from "./open-accounts-db.ts";

interface CompletenessRow {
  readonly source_rows: string;
  readonly source_usd: string;
  /** What the ledger says of the rows that have an event. */
  readonly billed_usd: string;
  readonly review_rows: string;
  readonly review_usd: string;
  readonly unbilled_rows: string;
  readonly unbilled_usd: string;
  /** The part of it whose request ended longer ago than the grace. */
  readonly overdue_usd: string;
  readonly overdue_rows: string;
  /** What the ledger has beyond the source, over the rows where it has more; zero or positive. */
  readonly overbilled_usd: string;
  readonly oldest_unbilled_seconds: string | null;
}

/** What all compared rows come to. */
const TOTALS_OF_DIFFERENCES = sql`count(*) as source_rows, trim_scale(coalesce(sum(source_usd), 0)) as source_usd, trim_scale(coalesce(sum(billed_usd), 0)) as billed_usd,
      count(*) filter (where in_review or retired_usd is not null) as review_rows,
      trim_scale(coalesce(sum(source_usd) filter (where in_review), 0) + coalesce(sum(retired_usd), 0)) as review_usd,
      count(*) filter (where is_unbilled) as unbilled_rows, trim_scale(coalesce(sum(missing_usd) filter (where is_unbilled), 0)) as unbilled_usd,
      count(*) filter (where is_unbilled and is_overdue) as overdue_rows,
      trim_scale(coalesce(sum(missing_usd) filter (where is_unbilled and is_overdue), 0)) as overdue_usd,
      trim_scale(coalesce(-sum(missing_usd) filter (where not is_unbilled and missing_usd < 0), 0)) as overbilled_usd,
      round(extract(epoch from billing_now() - min(ended_at) filter (where is_unbilled))) as oldest_unbilled_seconds`;

/**
 * Compares every spend row with its event and that event's adjustments, amount by amount; `from` and `to` narrow it to requests that
 * began between them (`to` excluded), and the cost to them. Reads both tables once. An amount that is no number, or beyond reason, counts as zero here and
 * stands in review. A refund is what was taken back by it, which is at most what was charged.
 */
export async function compareSourceWithLedger(
  db: DatabaseExecutor,
  options: { readonly from?: Date | undefined; readonly to?: Date | undefined; readonly graceMs: number },
): Promise<CompletenessRow> {
  const { from, to } = options;
  // The condition is written twice, for the source and for the keys, so that PostgreSQL finds both by their index.
  const started = (column: RawBuilder<unknown>): RawBuilder<boolean> =>
    from === undefined
      ? sql`true`
      : sql`${column} >= ${from}::timestamptz at time zone 'UTC'
    and (${to ?? null}::timestamptz is null or ${column} < ${to ?? null}::timestamptz at time zone 'UTC')`;
  // With a range the events are looked up one by one by their key. Without one the whole table is read once.
  const eachByIndex = from === undefined ? sql`` : sql`offset 0`;
  const result = await sql<CompletenessRow>`
    with source as (
      select case when abs(s.spend) <= 1000000 then s.spend::text::numeric else 0 end as spend_usd, s.request_id, "endTime" at time zone 'UTC' as ended_at,
        ${IS_CORRECTION} as is_refund, case when k.idempotency_key is null then ${ROW_HASH} end as row_hash, k.idempotency_key, k.org_id, k.event_id, k.recorded_at, k.source_spend,
        case when k.source_spend <> s.spend then ${RETIRED_REVIEW_KEY} end as retired_review_key
      from "LiteLLM_SpendLogs" s left join billing_event_keys k on k.idempotency_key = 'llm:' || s.request_id and k.source_start = s."startTime"
        and ${started(sql`k.source_start`)}
      where ${started(sql`s."startTime"`)}
    ), keyed as (
      select s.spend_usd, s.request_id, s.ended_at, s.is_refund, s.row_hash, coalesce(s.org_id, k.org_id) as org_id, coalesce(s.event_id, k.event_id) as event_id, coalesce(s.recorded_at, k.recorded_at) as recorded_at,
        coalesce(s.source_spend, k.source_spend) as source_spend, s.retired_review_key
      from source s left join lateral (
        -- One look-up for each of the few rows without a key of their own; as a join it would read all keys there are.
        select by_row.org_id, by_row.event_id, by_row.recorded_at, by_row.source_spend from billing_event_keys by_row where by_row.idempotency_key = 'row:' || s.row_hash offset 0
      ) k on s.row_hash is not null
    ), adjustments as (
      -- A refund has a spend row of its own, and is compared with that.
      select e.original_event_id as event_id, sum(e.spend_usd) as spend_usd from billing_events e
      where e.event_type = 'adjustment' ${
        from === undefined
          ? sql``
          : sql`and e.original_event_id in (select k.event_id from keyed k)
        -- An adjustment is recorded after its event; a day for a clock that was put back. The months before are not looked into.
        and e.recorded_at >= (select min(k.recorded_at) from keyed k) - interval '1 day'`
      }
        and not exists (select from billing_event_keys refund where refund.idempotency_key = 'llm:' || e.request_id || ':correction' and refund.event_id = e.event_id)
      group by e.original_event_id
    ), compared as (
      select k.ended_at, k.event_id is null and coalesce(by_id.review_key, by_hash.review_key) is not null as in_review,
        coalesce(e.spend_usd + coalesce(a.spend_usd, 0), case when k.event_id is not null and ${isRetired("k")} then greatest(k.source_spend, 0)::text::numeric + coalesce(later.billed_usd, 0) end) as billed_usd,
        later.review_usd as retired_usd,
        case when k.is_refund and e.event_id is not null then e.spend_usd + coalesce(a.spend_usd, 0) when k.is_refund then k.spend_usd else greatest(k.spend_usd, 0) end as source_usd
      from keyed k
      left join lateral (
        select event.event_id, event.spend_usd from billing_events event where event.org_id = k.org_id and event.event_id = k.event_id and event.recorded_at = k.recorded_at ${eachByIndex}
      ) e on true
      left join adjustments a on a.event_id = k.event_id
      left join spend_reviews by_id on k.event_id is null and by_id.review_key = 'id:' || k.request_id and by_id.resolution is distinct from 'billed'
      -- What the source said of a retired event later: billed by a person, or in review.
      left join lateral (
        select coalesce(sum(r.spend_usd::numeric) filter (where r.resolution = 'billed'), 0) as billed_usd,
          sum(r.spend_usd::numeric) filter (where r.review_key = k.retired_review_key and r.resolution is distinct from 'billed') as review_usd
        from spend_reviews r where r.request_id = k.request_id and r.reason = 'retired_month' and r.review_key like 'retired:%'
      ) later on k.retired_review_key is not null and e.event_id is null
      left join spend_reviews by_hash on k.event_id is null and by_hash.review_key = 'row:' || k.row_hash and by_hash.resolution is distinct from 'billed'
    ), differences as (
      select *, case when in_review then 0 else source_usd - coalesce(billed_usd, 0) - coalesce(retired_usd, 0) end as missing_usd,
        not in_review and (billed_usd is null or billed_usd + coalesce(retired_usd, 0) < source_usd) as is_unbilled,
        ended_at < billing_now() - ${options.graceMs} * interval '1 millisecond' as is_overdue
      from compared
    )
    select ${TOTALS_OF_DIFFERENCES} from differences`.execute(db);
  const row = result.rows[0];
  if (row === undefined) throw new Error("an aggregate without groups has one row");
  return row;
}

/** Orgs of which the promise of billing does not hold: source = delivered + pending + parked + dead + unapplied + shortfall + carry + kept. */
export async function readBrokenInvariants(
  db: DatabaseExecutor,
): Promise<readonly { readonly org_id: string; readonly difference: string }[]> {
  const result = await sql<{ org_id: string; difference: string }>`
    select org_id, trim_scale(difference) as difference from billing_invariant where difference <> 0 order by abs(difference) desc, org_id`.execute(
    db,
  );
  return result.rows;
}

/**
 * As {@link readBrokenInvariants}, at the cost of what was sealed since `from` (until `to`) and of what is open: the events of each such
 * batch sum to what was sealed, its carry is what the batch before left, the last one's is the account's, and open events are what
 * the account says. What was sealed before is not looked at, nor are orgs that had nothing since; with `to`, open events are not looked at either.
 */
export async function readRecentlyBroken(
  db: DatabaseExecutor,
  from: Date,
  to?: Date,
): Promise<readonly { readonly org_id: string; readonly difference: string }[]> {
  const result = await sql<{ org_id: string; difference: string }>`
    with sealed as materialized (
      select * from settlement_batches where sealed_at >= ${from} and (${to ?? null}::timestamptz is null or sealed_at < ${to ?? null}::timestamptz)
    ), differences as (
      select b.org_id, found.credits - b.events_credits as difference
      from sealed b
      cross join lateral (
        select coalesce(sum(e.credits), 0) as credits from billing_events e where ${IS_IN_BATCH} offset 0
      ) found
      -- Events of a retired month are not there to be summed; those of a batch were recorded after the one before was sealed.
      where not exists (
        select from retired_event_sums t where t.org_id = b.org_id and t.recorded_from <= b.sealed_at
          and t.recorded_to > coalesce((select before.sealed_at from settlement_batches before where before.org_id = b.org_id and before.sequence = b.sequence - 1), '-infinity'))
      union all
      select b.org_id, b.carry_in - coalesce((select before.carry_out from settlement_batches before where before.org_id = b.org_id and before.sequence = b.sequence - 1), 0)
      from sealed b
      union all
      select a.org_id, a.carry_credits - coalesce((select last.carry_out from settlement_batches last where last.org_id = a.org_id order by last.sequence desc limit 1), 0)
      from billing_accounts a where a.org_id in (select org_id from sealed)
      union all
      select a.org_id, coalesce((select sum(e.credits) from billing_events e where e.org_id = a.org_id and e.event_id > a.sealed_event_id and e.recorded_at >= a.open_since), 0) - a.open_credits
      from ${OPEN_ACCOUNTS} a where ${to === undefined}
    )
    select org_id, trim_scale(sum(difference)) as difference from differences
    group by org_id having sum(abs(difference)) <> 0
    order by sum(abs(difference)) desc, org_id`.execute(db);
  return result.rows;
}

export interface BalancesRow {
  readonly orgs: string;
  readonly states: Readonly<Record<string, number>>;
  /** Orgs whose last reconciliation is older than a day and a half; it is due daily. */
  readonly late_orgs: string;
  /** Readings of the last 24 hours that had to correct a balance noticeably. */
  readonly drifts: string;
  readonly drift_credits: string;
  readonly worst_org: string | null;
  readonly worst_cause: string | null;
  readonly worst_credits: string | null;
  readonly worst_severity: string | null;
}

/** The orgs' states, and the drift that reconciling with the sink found in the last 24 hours, from `warn` on. */
export async function readBalances(db: DatabaseExecutor): Promise<BalancesRow> {
  const result = await sql<BalancesRow>`
    with drifts as (
      select org_id, cause, severity, drift_credits from balance_reconciliations
      where reconciled_at > billing_now() - interval '24 hours' and severity in ('warn', 'critical')
    ), worst as (select * from drifts order by abs(drift_credits) desc limit 1)
    select coalesce((select sum(count) from ${GATES} gates), 0) as orgs,
      (select coalesce(json_object_agg(state, count), '{}') from ${GATES} gates) as states,
      -- The lower bound tells PostgreSQL that the range is small. Without it, it guesses that a third of all gates lie before the moment.
      (select count(*) from org_gates where account_mode = 'settled' and reconciled_at >= '-infinity' and reconciled_at < (select billing_now()) - interval '36 hours') as late_orgs,
      (select count(*) from drifts) as drifts, (select trim_scale(coalesce(sum(abs(drift_credits)), 0)) from drifts) as drift_credits,
      (select org_id from worst) as worst_org, (select cause from worst) as worst_cause, (select trim_scale(drift_credits) from worst) as worst_credits,
      (select severity from worst) as worst_severity`.execute(db);
  return (
    result.rows[0] ?? {
      orgs: "0",
      states: {},
      late_orgs: "0",
      drifts: "0",
      drift_credits: "0",
      worst_org: null,
      worst_cause: null,
      worst_credits: null,
      worst_severity: null,
    }
  );
}

interface DeliveryRow {
  /** Credits on the ledger that no sink has confirmed, the carry included; without what a capped balance will never pay. */
  readonly unposted_credits: string;
  /** Longest time since a batch was sealed that is not delivered. */
  readonly oldest_undelivered_seconds: string | null;
  /** Longest time since a batch was sealed that goes to the sink by itself; what rests (parked, dead, to be reconciled) is not late. */
  readonly oldest_moving_seconds: string | null;
  /** Could have been sent for 5 minutes, and nobody claimed them; without those whose org or sink is waited for. {@link MOST_OVERDUE} at most. */
  readonly overdue_batches: string;
  readonly last_delivered_at: Date | null;
}

/** So many overdue batches are counted, and no more: whoever hears of as many knows enough. */
export const MOST_OVERDUE = 10_000;

/** What is on its way to the sink, at a cost that does not follow how much that is: sums are kept, the oldest stand first in an index. */
export async function readDelivery(db: DatabaseExecutor): Promise<DeliveryRow> {
  const result = await sql<DeliveryRow>`
    with clock as materialized (select billing_now() as now, billing_now() - interval '5 minutes' as overdue_since), oldest as (
      -- One look into an index for each state in which a batch is not settled. It asks for the first from there on, as a state that is
      -- asked for by itself may be looked for among all batches by age.
      select b.state, b.needs_reconcile, b.sealed_at from unnest(array['sealed', 'sending', 'unknown', 'parked', 'dead', 'unapplied']) asked (state)
      cross join unnest(array[false, true]) flag (needs_reconcile)
      cross join lateral (
        select b.state, b.needs_reconcile, b.sealed_at from settlement_batches b
        where (b.state, b.needs_reconcile) >= (asked.state, flag.needs_reconcile) and b.state <> 'delivered' and b.state <> 'shortfall'
        order by b.state, b.needs_reconcile, b.sealed_at limit 1
      ) b
      where b.state = asked.state and b.needs_reconcile = flag.needs_reconcile
    ), overdue as (
      select from settlement_batches b
      where b.state in ('sealed', 'sending', 'unknown', 'parked') and not b.needs_reconcile and b.next_attempt_at < (select overdue_since from clock)
        and (b.lease_until is null or b.lease_until < (select overdue_since from clock))
        and b.org_id not in (select o.org_id from settlement_org_backoff o where o.retry_at >= (select overdue_since from clock))
        and not exists (select from settlement_circuits where retry_at >= (select overdue_since from clock))
      order by b.next_attempt_at limit ${MOST_OVERDUE}
    )
    select trim_scale(coalesce((select sum(unposted_credits) from ${BATCHES_UNDER_WAY} under_way), 0)
        + (select coalesce(sum(open_credits), 0) from ${OPEN_ACCOUNTS} accounts) + (select carry_credits from billing_totals)) as unposted_credits,
      (select round(extract(epoch from (select now from clock) - min(sealed_at))) from oldest) as oldest_undelivered_seconds,
      (select round(extract(epoch from (select now from clock) - min(sealed_at))) from oldest
        where state in ('sealed', 'sending', 'unknown') and not needs_reconcile) as oldest_moving_seconds,
      (select count(*) from overdue) as overdue_batches,
      (select max(last_delivered_at) from settled_batch_days) as last_delivered_at`.execute(db);
  const row = result.rows[0];
  if (row === undefined) throw new Error("a statement without a table has one row");
  return row;
}

/** Batches that may be sent now, counted one by one: for a person, not for each scrape. */
export async function countDueBatches(db: DatabaseExecutor): Promise<number> {
  const result = await sql<{ batches: number }>`
    select count(*)::int as batches from settlement_batches
    where state in ('sealed', 'unknown', 'parked') and not needs_reconcile and next_attempt_at <= (select billing_now())`.execute(db);
  return result.rows[0]?.batches ?? 0;
}

interface SourceLagRow {
  /** Age of the newest spend row that does not lie in the future; null where there is none. */
  readonly newest_row_seconds: string | null;
  /** Rows that say they began later than five minutes from now, 10,000 at most: a clock is wrong. */
  readonly future_rows: string;
  readonly attempts_in_flight: string;
  readonly oldest_attempt_seconds: string | null;
  readonly low_water_mark: Date | null;
}

/** How old the newest spend row is, how many lie in the future, and which requests of our engine still run. */
export async function readSourceLag(db: DatabaseExecutor): Promise<SourceLagRow> {
  const result = await sql<SourceLagRow>`
    select (select greatest(0, round(extract(epoch from billing_now() - max("startTime") at time zone 'UTC'))) from "LiteLLM_SpendLogs"
        where "startTime" <= (select billing_now() + interval '5 minutes') at time zone 'UTC' having max("startTime") is not null) as newest_row_seconds,
      -- The upper bound tells PostgreSQL that the range is small. Without it, it guesses that a third of all rows lie behind the moment, and
      -- starts parallel workers to read them.
      (select count(*) from (select from "LiteLLM_SpendLogs" where "startTime" > (select billing_now() + interval '5 minutes') at time zone 'UTC' limit 10000) ahead) as future_rows,
      count(*) as attempts_in_flight, round(extract(epoch from billing_now() - min(started_at))) as oldest_attempt_seconds,
      (select low_water_mark from spend_source_marks) as low_water_mark
    from request_attempts`.execute(db);
  return (
    result.rows[0] ?? {
      newest_row_seconds: null,
      future_rows: "0",
      attempts_in_flight: "0",
      oldest_attempt_seconds: null,
      low_water_mark: null,
    }
  );
}

export interface RestingRow {
  readonly org_id: string;
  readonly state: "unknown" | "parked" | "dead" | "unapplied" | "shortfall";
  readonly batches: string;
  /** What the sink has not taken of them. */
  readonly credits: string;
  /** The latest error of any of them. */
  readonly error_code: string | null;
}

/** Whose batches rest and why, the largest sums first, at most `limit`. `unknown` are those that wait for a comparison with the sink. */
export async function readResting(db: DatabaseExecutor, limit: number): Promise<readonly RestingRow[]> {
  const result = await sql<RestingRow>`
    select org_id, state, count(*) as batches, trim_scale(sum(credits - coalesce(deducted_credits, 0))) as credits,
      (array_agg(last_error_code order by sealed_at desc))[1] as error_code
    from settlement_batches
    where state <> 'delivered' and (state in ('parked', 'dead', 'unapplied', 'shortfall') or (state = 'unknown' and needs_reconcile))
    group by org_id, state
    order by sum(credits - coalesce(deducted_credits, 0)) desc, org_id
    limit ${limit}`.execute(db);
  return result.rows;
}

interface FindingsRow {
  readonly kind: string;
  readonly findings: string;
}

/** Open differences between our books and the sink's, as the last comparisons found them. */
export async function readOpenFindings(db: DatabaseExecutor): Promise<readonly FindingsRow[]> {
  const result =
    await sql<FindingsRow>`select kind, count(*) as findings from delivery_findings where resolved_at is null group by kind order by kind`.execute(
      db,
    );
  return result.rows;
}

export interface AttentionRow {
  /** Orgs that wait after a failed attempt. */
  readonly waiting_orgs: string;
  /** Sinks that fail for everybody, the first of them, and for how long. */
  readonly open_circuits: string;
  readonly circuit_sink: string | null;
  readonly circuit_error: string | null;
  readonly circuit_seconds: string | null;
  /** Delivered by proof of a refused duplicate; the sink stated no amount. */
  readonly unconfirmed_batches: string;
  readonly webhooks_pending: string;
  readonly webhooks_dead: string;
  /** Due for 10 minutes. Only a deployment that has a receiver sends them. */
  readonly webhooks_overdue: string;
  /** Given up within the last day. */
  readonly webhooks_lost: string;
  readonly top_ups_in_review: string;
  /** Answers of the last day by the second sink, where there is one, that differ as `listShadowDifferences` tells. */
  readonly shadow_differences: string;
  readonly alerts: readonly { readonly key: string; readonly kind: string; readonly message: string }[];
}

/** What waits beside the batches: sinks, orgs, webhooks, top-ups, alerts. */
export async function readAttention(db: DatabaseExecutor): Promise<AttentionRow> {
  const result = await sql<AttentionRow>`
    with circuit as (select * from settlement_circuits order by opened_at limit 1)
    select (select count(*) from settlement_org_backoff where retry_at > billing_now()) as waiting_orgs,
      (select count(*) from settlement_circuits) as open_circuits,
      (select sink from circuit) as circuit_sink, (select error_code from circuit) as circuit_error,
      (select round(extract(epoch from billing_now() - opened_at)) from circuit) as circuit_seconds,
      (select count(*) from settlement_batches where state = 'delivered' and deducted_credits is null) as unconfirmed_batches,
      (select count(*) from webhook_events where state = 'pending') as webhooks_pending,
      (select count(*) from webhook_events where state = 'dead') as webhooks_dead,
      (select count(*) from webhook_events where state = 'pending' and next_attempt_at < billing_now() - interval '10 minutes') as webhooks_overdue,
      (select count(*) from webhook_events where state = 'dead' and greatest(lease_until, next_attempt_at) > billing_now() - interval '24 hours') as webhooks_lost,
      (select count(*) from top_ups where state = 'needs_review') as top_ups_in_review,
      (select count(*) from sink_shadow_results
        where recorded_at > billing_now() - interval '24 hours'
          and ((primary_outcome in ('delivered', 'duplicate')) <> (shadow_outcome in ('delivered', 'duplicate')) or primary_credits <> shadow_credits)) as shadow_differences,
      (select coalesce(json_agg(json_build_object('key', alert_key, 'kind', kind, 'message', message) order by raised_at), '[]') from billing_alerts where cleared_at is null) as alerts`.execute(
    db,
  );
  const row = result.rows[0];
  if (row === undefined) throw new Error("a select without from has one row");
  return row;
}

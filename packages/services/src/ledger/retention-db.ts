/** Statements on the ledger's partitions, and on what the source may delete. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { IS_IN_RANGE, JOIN_BATCH } from "./event-batches-db.ts";

/** Makes this month's partition and those of `months` after it. Returns how many were missing. Idempotent. */
export async function ensurePartitions(db: DatabaseExecutor, months: number): Promise<number> {
  const result = await sql<{ made: number }>`select ensure_event_partitions(${months}) as made`.execute(db);
  return result.rows[0]?.made ?? 0;
}

/** Events that stand in no month's partition, because it was missing when they were recorded. */
export async function countStrayEvents(db: DatabaseExecutor): Promise<number> {
  const result = await sql<{ count: number }>`select count(*)::int as count from billing_events_default`.execute(db);
  return result.rows[0]?.count ?? 0;
}

interface PartitionRow {
  readonly name: string;
  /** `2026-11`. */
  readonly month: string;
  readonly is_over: boolean;
}

/** The attached month partitions, oldest first. */
export async function readPartitions(db: DatabaseExecutor): Promise<readonly PartitionRow[]> {
  const result = await sql<PartitionRow>`
    select c.relname as name, replace(right(c.relname, 7), '_', '-') as month,
      (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC' <= billing_now() as is_over
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'billing_events'::regclass and c.relname ~ '^billing_events_\\d{4}_\\d{2}$'
    order by c.relname`.execute(db);
  return result.rows;
}

/** In milliseconds: how long whoever wants a whole partition may hold up those who come after it. */
const PARTITION_LOCK_TIMEOUT_MS = 2_000;

/** Keeps everybody away from the partition until the transaction ends. Throws (55P03) when others do not let go of it for two seconds. */
export async function lockPartition(tx: DatabaseExecutor, name: string): Promise<void> {
  await sql`select set_config('lock_timeout', ${String(PARTITION_LOCK_TIMEOUT_MS)}, true)`.execute(tx);
  await sql`lock table billing_events in share update exclusive mode`.execute(tx);
  await sql`lock table ${sql.table(name)} in access exclusive mode`.execute(tx);
}

/** Events of the partition. */
export async function countEvents(db: DatabaseExecutor, name: string): Promise<number> {
  const result = await sql<{ events: string }>`select count(*) as events from ${sql.table(name)}`.execute(db);
  return Number(result.rows[0]?.events ?? 0);
}

/** Events of the partition: all of them, those in no batch, and those in no delivered one. Goes from the accounts and batches that are not done to their events, never the other way. */
export async function countUnsettled(
  tx: DatabaseExecutor,
  name: string,
): Promise<{ readonly events: number; readonly open: number; readonly undelivered: number }> {
  const table = sql.table(name);
  const result = await sql<{ events: string; open: string; undelivered: string }>`
    select (select count(*) from ${table}) as events,
      (select coalesce(sum(found.events), 0) from billing_accounts a
        cross join lateral (select count(*) as events from ${table} e where e.org_id = a.org_id and e.event_id > a.sealed_event_id offset 0) found
        where a.last_event_id > a.sealed_event_id) as open,
      (select coalesce(sum(found.events), 0) from settlement_batches b
        cross join lateral (select count(*) as events from ${table} e where ${IS_IN_RANGE} offset 0) found
        where b.state <> 'delivered') as undelivered`.execute(tx);
  const row = result.rows[0];
  return { events: Number(row?.events ?? 0), open: Number(row?.open ?? 0), undelivered: Number(row?.undelivered ?? 0) };
}

interface UnsettledRow {
  readonly org_id: string;
  /** Null: in no batch. */
  readonly batch_id: string | null;
  readonly state: string | null;
  readonly events: number;
}

/** Whose events of the partition are in no delivered batch, and in which; at most `limit` groups. What was kept is settled. */
export async function readUnsettled(tx: DatabaseExecutor, name: string, limit: number): Promise<readonly UnsettledRow[]> {
  const result = await sql<UnsettledRow>`
    select e.org_id, b.batch_id, b.state, count(*)::int as events from ${sql.table(name)} e ${JOIN_BATCH}
    where b.state is distinct from 'delivered'
      and (b.batch_id is not null or e.event_id > (select a.sealed_event_id from billing_accounts a where a.org_id = e.org_id))
    group by e.org_id, b.batch_id, b.state
    order by e.org_id, b.batch_id nulls first
    limit ${limit}`.execute(tx);
  return result.rows;
}

/** Notes the sums of the partition, which stay when it leaves the ledger. Returns its events. */
export async function noteRetiredSums(tx: DatabaseExecutor, name: string): Promise<number> {
  const noted = await sql<{ events: string }>`
    insert into retired_event_sums (partition, org_id, events, spend_usd, credits, recorded_from, recorded_to)
    select ${name}, org_id, count(*), sum(spend_usd), sum(credits), to_date(right(${name}, 7), 'YYYY_MM')::timestamp at time zone 'UTC',
      (to_date(right(${name}, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC'
    from ${sql.table(name)} group by org_id
    returning events`.execute(tx);
  return noted.rows.reduce((sum, row) => sum + Number.parseInt(row.events, 10), 0);
}

/**
 * Takes the partition out of the ledger; its table stays. Call it under {@link lockPartition}. Not `concurrently`: PostgreSQL refuses
 * that where there is a default partition, and there is one so that a missing month never stops billing.
 */
export async function detachPartition(tx: DatabaseExecutor, name: string): Promise<void> {
  await sql`alter table billing_events detach partition ${sql.table(name)}`.execute(tx);
}

/** Moves events of the default partition to their months. Returns how many. Call it under `lockIngest`. */
export async function adoptStrayEvents(tx: DatabaseExecutor): Promise<number> {
  await sql`select set_config('lock_timeout', ${String(PARTITION_LOCK_TIMEOUT_MS)}, true)`.execute(tx);
  const result = await sql<{ strays: number }>`select adopt_stray_events() as strays`.execute(tx);
  return result.rows[0]?.strays ?? 0;
}

/** Events of a month that was retired; undefined where it was not, or held none. */
export async function countRetired(db: DatabaseExecutor, month: string): Promise<number | undefined> {
  const result = await sql<{ events: string | null }>`
    select sum(events) as events from retired_event_sums where partition = 'billing_events_' || replace(${month}, '-', '_')`.execute(db);
  const events = result.rows[0]?.events ?? null;
  return events === null ? undefined : Number(events);
}

interface SourceMarkRow {
  /** Null before the first sweep came round. */
  readonly low_water_mark: Date | null;
  readonly source_oldest: Date | null;
  /** Of the sweep under way, all in the source's own spelling; null where there is none. Where it stands: rows that began later are still to be looked at. */
  readonly sweep_position: string | null;
  /** Where it ends: what is younger is looked at by others. */
  readonly sweep_end: string | null;
}

/** How far the source was read for good; undefined before the first sweep. */
export async function readSourceMark(db: DatabaseExecutor): Promise<SourceMarkRow | undefined> {
  const result = await sql<SourceMarkRow>`
    select low_water_mark, source_oldest, sweep_position::text as sweep_position, (sweep_mark at time zone 'UTC')::text as sweep_end from spend_source_marks`.execute(
    db,
  );
  return result.rows[0];
}

/** Start of the oldest row in the source; null when there is none. */
export async function readOldestStart(db: DatabaseExecutor): Promise<Date | null> {
  const result = await sql<{ oldest: Date | null }>`select min("startTime") at time zone 'UTC' as oldest from "LiteLLM_SpendLogs"`.execute(
    db,
  );
  return result.rows[0]?.oldest ?? null;
}

/** Begins a sweep of what began before `end` (as the source spells it). */
export async function beginSweep(db: DatabaseExecutor, sweep: { readonly end: string; readonly sourceOldest: Date | null }): Promise<void> {
  await sql`
    insert into spend_source_marks (sweep_position, sweep_mark, sweep_oldest) values ('-infinity', ${sweep.end}::timestamp at time zone 'UTC', ${sweep.sourceOldest})
    on conflict (singleton) do update set sweep_position = excluded.sweep_position, sweep_mark = excluded.sweep_mark, sweep_oldest = excluded.sweep_oldest`.execute(
    db,
  );
}

/** Notes where the sweep stands: what began up to then is billed or in review. */
export async function writeSweepPosition(db: DatabaseExecutor, position: string): Promise<void> {
  await sql`update spend_source_marks set sweep_position = greatest(sweep_position, ${position}::timestamp)`.execute(db);
}

/** The sweep has come round: all that the source had when it began, and that began before its end, is billed or in review. */
export async function endSweep(db: DatabaseExecutor): Promise<void> {
  await sql`
    update spend_source_marks
    set low_water_mark = greatest(low_water_mark, sweep_mark), swept_at = billing_now(), source_oldest = sweep_oldest, sweep_position = null, sweep_mark = null, sweep_oldest = null
    where sweep_mark is not null`.execute(db);
}

/** The end of the month in which the oldest row after `position` began, as the source spells it; undefined where there is none before `end`. */
export async function findMonthEnd(db: DatabaseExecutor, position: string, end: string): Promise<string | undefined> {
  const result = await sql<{ month_end: string }>`
    select least(date_trunc('month', min("startTime")) + interval '1 month', ${end}::timestamp)::text as month_end
    from "LiteLLM_SpendLogs" where "startTime" > ${position}::timestamp and "startTime" <= ${end}::timestamp
    having min("startTime") is not null`.execute(db);
  return result.rows[0]?.month_end;
}

interface BillingAlert {
  /** The same happening has the same key. */
  readonly key: string;
  readonly kind: "source_rows_deleted" | "partition_missing" | "ledger_gap";
  readonly message: string;
  readonly facts: Readonly<Record<string, string | number>>;
}

/** Raises an alert, once; again when it was cleared since. Returns false when it stands already. */
export async function raiseAlert(db: DatabaseExecutor, alert: BillingAlert): Promise<boolean> {
  const result = await sql`
    insert into billing_alerts (alert_key, kind, message, facts) values (${alert.key}, ${alert.kind}, ${alert.message}, ${JSON.stringify(alert.facts)}::jsonb)
    on conflict (alert_key) do update set message = excluded.message, facts = excluded.facts, raised_at = excluded.raised_at, cleared_at = null
    where billing_alerts.cleared_at is not null`.execute(db);
  return (result.numAffectedRows ?? 0n) > 0n;
}

interface AlertRow extends BillingAlert {
  readonly raisedAt: Date;
}

/** Alerts that nobody cleared, oldest first. */
export async function readOpenAlerts(db: DatabaseExecutor): Promise<readonly AlertRow[]> {
  const result = await sql<AlertRow>`
    select alert_key as key, kind, message, facts, raised_at as "raisedAt" from billing_alerts where cleared_at is null order by raised_at`.execute(
    db,
  );
  return result.rows;
}

/** Returns false when it was cleared or is unknown. */
export async function clearAlert(db: DatabaseExecutor, key: string): Promise<boolean> {
  const result = await sql`update billing_alerts set cleared_at = billing_now() where alert_key = ${key} and cleared_at is null`.execute(
    db,
  );
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Whether an alert with this key was ever raised. */
export async function hasAlert(db: DatabaseExecutor, key: string): Promise<boolean> {
  const result = await sql`select 1 from billing_alerts where alert_key = ${key}`.execute(db);
  return result.rows.length > 0;
}

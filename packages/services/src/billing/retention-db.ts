/** Statements on the ledger's partitions, and on what the source may delete. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { JOIN_BATCH } from "./event-batches-db.ts";

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

export interface PartitionRow {
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

/** Keeps every writer away from the partition until the transaction ends. */
export async function lockPartition(tx: DatabaseExecutor, name: string): Promise<void> {
  await sql`lock table ${sql.table(name)} in access exclusive mode`.execute(tx);
}

/** Events of the partition: all of them, those in no batch, and those in no delivered one. */
export async function countUnsettled(tx: DatabaseExecutor, name: string): Promise<{ readonly events: number; readonly open: number; readonly undelivered: number }> {
  const result = await sql<{ events: number; open: number; undelivered: number }>`
    select count(*)::int as events, count(*) filter (where b.batch_id is null)::int as open,
      count(*) filter (where b.batch_id is not null and b.state is distinct from 'delivered')::int as undelivered
    from ${sql.table(name)} e ${JOIN_BATCH}`.execute(tx);
  return result.rows[0] ?? { events: 0, open: 0, undelivered: 0 };
}

export interface UnsettledRow {
  readonly org_id: string;
  /** Null: in no batch. */
  readonly batch_id: string | null;
  readonly state: string | null;
  readonly events: number;
}

/** Whose events of the partition are in no delivered batch, and in which; at most `limit` groups. */
export async function readUnsettled(tx: DatabaseExecutor, name: string, limit: number): Promise<readonly UnsettledRow[]> {
  const result = await sql<UnsettledRow>`
    select e.org_id, b.batch_id, b.state, count(*)::int as events from ${sql.table(name)} e ${JOIN_BATCH}
    where b.state is distinct from 'delivered'
    group by e.org_id, b.batch_id, b.state
    order by e.org_id, b.batch_id nulls first
    limit ${limit}`.execute(tx);
  return result.rows;
}

/** Notes the sums of the partition and takes it out of the ledger; its table stays. Returns its events. */
export async function detachPartition(tx: DatabaseExecutor, name: string): Promise<number> {
  const noted = await sql<{ events: string }>`
    insert into retired_event_sums (partition, org_id, events, spend_usd, credits, recorded_from, recorded_to)
    select ${name}, org_id, count(*), sum(spend_usd), sum(credits), to_date(right(${name}, 7), 'YYYY_MM')::timestamp at time zone 'UTC',
      (to_date(right(${name}, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC'
    from ${sql.table(name)} group by org_id
    returning events`.execute(tx);
  await sql`alter table billing_events detach partition ${sql.table(name)}`.execute(tx);
  return noted.rows.reduce((sum, row) => sum + Number.parseInt(row.events, 10), 0);
}

/** Events of a month that was retired; undefined where it was not, or held none. */
export async function countRetired(db: DatabaseExecutor, month: string): Promise<number | undefined> {
  const result = await sql<{ events: number | null }>`
    select sum(events)::int as events from retired_event_sums where partition = 'billing_events_' || replace(${month}, '-', '_')`.execute(db);
  return result.rows[0]?.events ?? undefined;
}

export interface SourceMarkRow {
  readonly low_water_mark: Date;
  readonly swept_at: Date;
  readonly source_oldest: Date | null;
}

export async function readSourceMark(db: DatabaseExecutor): Promise<SourceMarkRow | undefined> {
  const result = await sql<SourceMarkRow>`select low_water_mark, swept_at, source_oldest from spend_source_marks`.execute(db);
  return result.rows[0];
}

/** Start of the oldest row in the source; null when there is none. */
export async function readOldestStart(db: DatabaseExecutor): Promise<Date | null> {
  const result = await sql<{ oldest: Date | null }>`select min("startTime") at time zone 'UTC' as oldest from "LiteLLM_SpendLogs"`.execute(db);
  return result.rows[0]?.oldest ?? null;
}

/** Notes that all that the source had, and that began before `lookBackStart` (as the source spells it), is billed or in review. */
export async function writeSourceMark(db: DatabaseExecutor, options: { readonly lookBackStart: string; readonly sourceOldest: Date | null }): Promise<void> {
  await sql`
    insert into spend_source_marks (low_water_mark, swept_at, source_oldest)
    values (${options.lookBackStart}::timestamp at time zone 'UTC', billing_now(), ${options.sourceOldest})
    on conflict (singleton) do update set low_water_mark = excluded.low_water_mark, swept_at = excluded.swept_at, source_oldest = excluded.source_oldest`.execute(db);
}

export interface BillingAlert {
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

export interface AlertRow extends BillingAlert {
  readonly raisedAt: Date;
}

/** Alerts that nobody cleared, oldest first. */
export async function readOpenAlerts(db: DatabaseExecutor): Promise<readonly AlertRow[]> {
  const result = await sql<AlertRow>`
    select alert_key as key, kind, message, facts, raised_at as "raisedAt" from billing_alerts where cleared_at is null order by raised_at`.execute(db);
  return result.rows;
}

/** Returns false when it was cleared or is unknown. */
export async function clearAlert(db: DatabaseExecutor, key: string): Promise<boolean> {
  const result = await sql`update billing_alerts set cleared_at = billing_now() where alert_key = ${key} and cleared_at is null`.execute(db);
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Whether an alert with this key was ever raised. */
export async function hasAlert(db: DatabaseExecutor, key: string): Promise<boolean> {
  const result = await sql`select 1 from billing_alerts where alert_key = ${key}`.execute(db);
  return result.rows.length > 0;
}

/** Statements of comparing deliveries with what the sink has on record, and of correcting the sink. */
import type { DatabaseExecutor, DeliveryFindingKind, SettlementState } from "@proliferate/db";
import { sql } from "kysely";

/** A batch of which the sink's record can be told, with what it should hold. */
export interface ComparableBatch {
  readonly batchId: string;
  readonly orgId: string;
  readonly state: SettlementState;
  readonly credits: string;
  /** What the sink must have taken for it by our books; null while nobody knows. */
  readonly expectedCredits: string | null;
  /** Delivered on the word of a refused duplicate: the sink never stated a deduction. */
  readonly isUnconfirmed: boolean;
  /** False when an attempt or a correction is so recent that the sink's list may lack it. */
  readonly isQuiet: boolean;
}

export interface ComparisonRange {
  /** How far back attempts are looked at. Batches that wait for a comparison are looked at whatever their age. */
  readonly lookBackMs: number;
  readonly quietMs: number;
  readonly orgId?: string | undefined;
  /** Only what is unconfirmed or past the sink's memory of keys. */
  readonly openOnly: boolean;
}

/** Batches in rest that the sink may have taken, by org; those being sent are left out. Also when the first attempt of each org's was. */
export async function readComparableBatches(db: DatabaseExecutor, range: ComparisonRange): Promise<readonly (ComparableBatch & { readonly firstSentAt: Date })[]> {
  const result = await sql<{
    batch_id: string;
    org_id: string;
    state: SettlementState;
    credits: string;
    expected_credits: string | null;
    is_unconfirmed: boolean;
    is_quiet: boolean;
    first_sent_at: Date;
  }>`
    with clock as materialized (select billing_now() as now)
    select b.batch_id, b.org_id, b.state, trim_scale(b.credits) as credits,
      trim_scale(case b.state when 'delivered' then b.credits when 'unapplied' then b.deducted_credits when 'shortfall' then b.deducted_credits end) as expected_credits,
      b.state = 'delivered' and b.deducted_credits is null as is_unconfirmed,
      greatest((select max(coalesce(a.finished_at, a.started_at)) from settlement_attempts a where a.batch_id = b.batch_id),
        (select max(coalesce(c.finished_at, c.created_at)) from settlement_corrections c where c.batch_id = b.batch_id))
        <= clock.now - ${range.quietMs} * interval '1 millisecond' as is_quiet,
      b.first_sent_at
    from settlement_batches b cross join clock
    where (b.first_sent_at >= (select billing_now()) - ${range.lookBackMs} * interval '1 millisecond' or (b.state <> 'delivered' and (b.needs_reconcile or b.state = 'dead')))
      and b.first_sent_at is not null and b.credits > 0
      and (b.state in ('delivered', 'unapplied', 'shortfall', 'dead') or b.needs_reconcile)
      and (not ${range.openOnly} or b.needs_reconcile or (b.state = 'delivered' and b.deducted_credits is null))
      and (${range.orgId ?? null}::text is null or b.org_id = ${range.orgId ?? null})
    order by b.org_id, b.sequence`.execute(db);
  return result.rows.map((row) => ({
    batchId: row.batch_id,
    orgId: row.org_id,
    state: row.state,
    credits: row.credits,
    expectedCredits: row.expected_credits,
    isUnconfirmed: row.is_unconfirmed,
    isQuiet: row.is_quiet,
    firstSentAt: row.first_sent_at,
  }));
}

/** What the sink stated that it took from the org, over all time: what its own sum of usage is compared with. */
export async function readStatedDeductions(db: DatabaseExecutor, orgId: string): Promise<string> {
  const result = await sql<{ credits: string }>`
    select trim_scale(coalesce((select sum(deducted_credits) from settlement_batches where org_id = ${orgId}), 0)
      + coalesce((select sum(credits) from settlement_corrections where org_id = ${orgId} and state = 'applied'), 0)) as credits`.execute(db);
  return result.rows[0]?.credits ?? "0";
}

/** Delivered, as the sink's record shows. Changes only a batch that waits for its comparison, or has no stated deduction. */
export async function confirmDelivery(db: DatabaseExecutor, batchId: string): Promise<void> {
  await sql`
    update settlement_batches
    set state = 'delivered', needs_reconcile = false, deducted_credits = credits, delivered_at = coalesce(delivered_at, billing_now()),
      last_error_code = null, last_error = null
    where batch_id = ${batchId} and (needs_reconcile or state = 'dead' or (state = 'delivered' and deducted_credits is null))`.execute(db);
}

/** Certainly not taken, as the sink's record shows: due again under its next key; a dead batch stays dead, and may be redriven. */
export async function redriveForgotten(db: DatabaseExecutor, batchId: string): Promise<void> {
  await sql`
    update settlement_batches
    set state = case when state = 'dead' then 'dead' else 'sealed' end, needs_reconcile = false, redrive_count = redrive_count + 1, next_attempt_at = billing_now(), first_sent_at = null
    where batch_id = ${batchId} and (needs_reconcile or state = 'dead') and state <> 'delivered'`.execute(db);
}

export interface UndecidedBatchRow {
  readonly org_id: string;
  readonly credits: string;
  readonly state: SettlementState;
  readonly needs_reconcile: boolean;
  readonly redrive_count: number;
  /** An attempt may have been applied. */
  readonly was_sent: boolean;
  readonly deducted_credits: string | null;
}

/** A batch, locked until the transaction ends; undefined for an unknown id. */
export async function lockBatch(tx: DatabaseExecutor, batchId: string): Promise<UndecidedBatchRow | undefined> {
  const result = await sql<UndecidedBatchRow>`
    select org_id, trim_scale(credits) as credits, state, needs_reconcile, redrive_count, first_sent_at is not null as was_sent, trim_scale(deducted_credits) as deducted_credits
    from settlement_batches where batch_id = ${batchId}::uuid for update`.execute(tx);
  return result.rows[0];
}

/** Closes what a comparison could not decide about the batch, because a person did. */
export async function closeUnresolved(tx: DatabaseExecutor, batchId: string): Promise<void> {
  await sql`
    update delivery_findings set resolved_at = billing_now()
    where batch_id = ${batchId}::uuid and kind = 'unresolved' and resolved_at is null`.execute(tx);
}

export interface FindingRow {
  readonly batchId: string;
  readonly orgId: string;
  readonly kind: DeliveryFindingKind;
  readonly expectedCredits: string;
  readonly foundCredits: string | null;
  readonly message: string;
}

/** Notes the findings, and closes those of the compared batches that are gone. */
export async function recordFindings(db: DatabaseExecutor, comparedBatchIds: readonly string[], findings: readonly FindingRow[]): Promise<void> {
  const rows = findings.map((finding) => ({
    batch_id: finding.batchId,
    org_id: finding.orgId,
    kind: finding.kind,
    expected: finding.expectedCredits,
    found: finding.foundCredits,
    message: finding.message,
  }));
  await sql`
    with clock as materialized (select billing_now() as now), found as (
      select * from json_to_recordset(${JSON.stringify(rows)}::json) as f (batch_id uuid, org_id text, kind text, expected numeric, found numeric, message text)
    ), noted as (
      insert into delivery_findings (batch_id, kind, org_id, expected_credits, found_credits, message, first_seen_at, last_seen_at)
      select batch_id, kind, org_id, expected, found, message, clock.now, clock.now from found cross join clock
      on conflict (batch_id, kind) do update
      set expected_credits = excluded.expected_credits, found_credits = excluded.found_credits, message = excluded.message,
        last_seen_at = excluded.last_seen_at, resolved_at = null
    )
    update delivery_findings d set resolved_at = (select now from clock)
    where d.resolved_at is null and d.batch_id = any(${comparedBatchIds as string[]}::uuid[])
      and not exists (select 1 from found f where f.batch_id = d.batch_id and f.kind = d.kind)`.execute(db);
}

export interface BegunCorrection {
  readonly sequence: number;
  readonly idempotencyKey: string;
  /** An earlier attempt used this key: a refused duplicate means that it was applied. */
  readonly mayBeApplied: boolean;
}

/**
 * Puts a correction on record before it is made. One that is still open for the same amount is taken up again under its key
 * while the sink remembers it, and given up after that (the comparison has just shown that it was not applied).
 */
export async function beginCorrection(
  tx: DatabaseExecutor,
  correction: { readonly batchId: string; readonly orgId: string; readonly credits: string; readonly keyMemoryMs: number },
): Promise<BegunCorrection | undefined> {
  await sql`select 1 from settlement_batches where batch_id = ${correction.batchId} for update`.execute(tx);
  await sql`
    update settlement_corrections set state = 'refused', finished_at = billing_now(), error_code = 'key_forgotten'
    where batch_id = ${correction.batchId} and state = 'sending'
      and created_at < billing_now() - ${correction.keyMemoryMs} * interval '1 millisecond'`.execute(tx);
  const open = await sql<{ sequence: number; idempotency_key: string; credits: string }>`
    select sequence, idempotency_key, trim_scale(credits) as credits from settlement_corrections
    where batch_id = ${correction.batchId} and state = 'sending'`.execute(tx);
  const [row] = open.rows;
  if (row) return row.credits === correction.credits ? { sequence: row.sequence, idempotencyKey: row.idempotency_key, mayBeApplied: true } : undefined;
  const begun = await sql<{ sequence: number; idempotency_key: string }>`
    insert into settlement_corrections (batch_id, sequence, org_id, idempotency_key, credits, state, created_at)
    select ${correction.batchId}, n, ${correction.orgId}, 'pc:' || ${correction.batchId} || '.' || n, ${correction.credits}::numeric, 'sending', billing_now()
    from (select coalesce(max(sequence), 0) + 1 as n from settlement_corrections where batch_id = ${correction.batchId}) next
    returning sequence, idempotency_key`.execute(tx);
  const [made] = begun.rows;
  return made && { sequence: made.sequence, idempotencyKey: made.idempotency_key, mayBeApplied: false };
}

export async function finishCorrection(db: DatabaseExecutor, batchId: string, sequence: number, end: { readonly state: "applied" | "refused"; readonly errorCode: string | null }): Promise<void> {
  await sql`
    update settlement_corrections set state = ${end.state}, finished_at = billing_now(), error_code = ${end.errorCode}
    where batch_id = ${batchId} and sequence = ${sequence} and state = 'sending'`.execute(db);
}

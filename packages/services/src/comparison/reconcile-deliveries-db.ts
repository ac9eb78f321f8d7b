/** Statements of comparing deliveries with what the sink has on record, and of correcting the sink. */
import type { DatabaseExecutor, DeliveryFindingKind, SettlementState } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";

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

/** The sink stated that it took more than the batch is worth: all of it was taken, and the rest is to be given back. */
const IS_TAKEN_TOO_MUCH: RawBuilder<boolean> = sql`(b.state = 'unapplied' and b.deducted_credits > b.credits)`;

/** What our books say that the sink took of a batch `b`; null while the sink's record is to decide. */
const EXPECTED: RawBuilder<string | null> = sql`case b.state when 'delivered' then b.credits when 'shortfall' then b.deducted_credits
  when 'unapplied' then case when b.deducted_credits <= b.credits then b.deducted_credits end end`;

export interface ComparisonRange {
  /** How far back attempts are looked at. Batches that wait for a comparison are looked at whatever their age. */
  readonly lookBackMs: number;
  readonly quietMs: number;
  readonly orgId?: string | undefined;
  /** Only what is unconfirmed or past the sink's memory of keys. */
  readonly openOnly: boolean;
}

/** A batch `b` that the sink may have taken and that rests; those being sent are left out. */
function isComparable(range: ComparisonRange): RawBuilder<boolean> {
  // Each of the two kinds is looked up in an index of its own, so neither is asked about the org's whole history.
  const recent = sql`b.first_sent_at >= (select billing_now()) - ${range.lookBackMs} * interval '1 millisecond'`;
  return sql`(${recent} or (b.state <> 'delivered' and (b.needs_reconcile or b.state = 'dead')))
      and b.first_sent_at is not null and b.credits > 0
      and (b.state in ('delivered', 'unapplied', 'shortfall', 'dead') or b.needs_reconcile)
      and (not ${range.openOnly} or b.needs_reconcile or (b.state = 'delivered' and b.deducted_credits is null) or ${IS_TAKEN_TOO_MUCH})`;
}

/** Orgs that have something to compare, in order, of those after a page's `afterOrgId`; the next page begins after `lastOrgId`. */
interface ComparableOrgs {
  readonly orgIds: readonly string[];
  /** Undefined: this was the last page. */
  readonly lastOrgId: string | undefined;
}

/**
 * Without kept accounts, of which everything that was ever sent is settled, and nothing is open. A page of orgs: `limit` that have something open, by the indexes of what is open; or those of `limit` accounts that have anything to
 * compare, at one look-up or two for each account. So a page costs the same however many orgs there are, and however much is under way.
 */
export async function listComparableOrgs(
  db: DatabaseExecutor,
  range: ComparisonRange,
  page: { readonly afterOrgId: string; readonly limit: number },
): Promise<ComparableOrgs> {
  const rows = range.openOnly ? await listOpenOrgs(db, range, page) : await listAccountsToCompare(db, range, page);
  return {
    orgIds: rows.filter((row) => row.is_comparable).map((row) => row.org_id),
    lastOrgId: rows.length < page.limit ? undefined : rows.at(-1)?.org_id,
  };
}

interface PagedOrg {
  readonly org_id: string;
  readonly is_comparable: boolean;
}

async function listOpenOrgs(
  db: DatabaseExecutor,
  range: ComparisonRange,
  page: { readonly afterOrgId: string; readonly limit: number },
): Promise<readonly PagedOrg[]> {
  const open = (condition: RawBuilder<boolean>): RawBuilder<unknown> => sql`(select distinct b.org_id from settlement_batches b
      where ${condition} and b.org_id > ${page.afterOrgId} collate "C" and (${range.orgId ?? null}::text is null or b.org_id = ${range.orgId ?? null}) and ${isComparable(range)}
      order by b.org_id limit ${page.limit})`;
  const result = await sql<PagedOrg>`
    select org_id, true as is_comparable from (
      ${open(sql`(b.needs_reconcile or (b.state = 'delivered' and b.deducted_credits is null))`)}
      union
      ${open(sql`b.state <> 'delivered' and b.state = 'unapplied'`)}
    ) orgs
    order by org_id limit ${page.limit}`.execute(db);
  return result.rows;
}

async function listAccountsToCompare(
  db: DatabaseExecutor,
  range: ComparisonRange,
  page: { readonly afterOrgId: string; readonly limit: number },
): Promise<readonly PagedOrg[]> {
  // Said so that each is one look into an index of the org's batches: those sent lately, and those that have not come to rest well.
  const exists = (condition: RawBuilder<boolean>): RawBuilder<boolean> =>
    sql`(select 1 from settlement_batches b where b.org_id = p.org_id and ${condition} and ${isComparable(range)} limit 1) is not null`;
  const result = await sql<PagedOrg>`
    with page as materialized (
      select a.org_id from billing_accounts a
      where a.org_id > ${page.afterOrgId} and a.mode = 'settled' and (${range.orgId ?? null}::text is null or a.org_id = ${range.orgId ?? null})
      order by a.org_id limit ${page.limit}
    )
    select p.org_id, ${exists(sql`b.first_sent_at >= (select billing_now()) - ${range.lookBackMs} * interval '1 millisecond'`)} or ${exists(sql`b.state <> 'delivered'`)} as is_comparable
    from page p order by p.org_id`.execute(db);
  return result.rows;
}

/** The comparable batches of one org, in their order; also when the first attempt at each was. */
export async function readComparableBatches(
  db: DatabaseExecutor,
  orgId: string,
  range: ComparisonRange,
): Promise<readonly (ComparableBatch & { readonly firstSentAt: Date })[]> {
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
      trim_scale(${EXPECTED}) as expected_credits,
      b.state = 'delivered' and b.deducted_credits is null as is_unconfirmed,
      greatest((select max(coalesce(a.finished_at, a.started_at)) from settlement_attempts a where a.batch_id = b.batch_id),
        (select max(coalesce(c.finished_at, c.created_at)) from settlement_corrections c where c.batch_id = b.batch_id))
        <= clock.now - ${range.quietMs} * interval '1 millisecond' as is_quiet,
      b.first_sent_at
    from settlement_batches b cross join clock
    where b.org_id = ${orgId} and ${isComparable(range)}
    order by b.sequence`.execute(db);
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

/** Our side of the books of an org, beside the batches that are compared. */
export interface BooksRow {
  /** What counts as taken of all its other batches, over all time. */
  readonly otherCredits: string;
  /** How often the org was settled. */
  readonly batchCount: number;
  /** The offset of the sink's own sum when nothing was amiss; 0 where there was no such time yet. */
  readonly usageOffset: string;
  /** Which balances that was of; null where there was no such time yet. */
  readonly balanceIds: string | null;
  /** An attempt or a correction is under way, may have been applied, or ended since `since`: the sink's sum is not of one moment with ours. */
  readonly isMoving: boolean;
}

/** Call it after the sink was asked, with the clock of before. */
export async function readBooks(
  db: DatabaseExecutor,
  orgId: string,
  options: { readonly comparedIds: readonly string[]; readonly since: string },
): Promise<BooksRow> {
  const compared = sql`b.batch_id = any(${options.comparedIds as string[]}::uuid[])`;
  const result = await sql<{
    other_credits: string;
    batch_count: number;
    usage_offset: string;
    balance_ids: string | null;
    is_moving: boolean;
  }>`
    with base as materialized (
      select coalesce(max(usage_offset), 0) as usage_offset, max(balance_ids) as balance_ids, coalesce(max(through_sequence), 0) as through_sequence, coalesce(max(through_credits), 0) as through_credits
      from delivery_baselines where org_id = ${orgId}
    ), later as materialized (
      select b.*, ${compared} as is_compared, ${EXPECTED} as expected from settlement_batches b where b.org_id = ${orgId} and b.sequence > (select through_sequence from base)
    )
    select trim_scale((select through_credits from base) + coalesce((select sum(expected) filter (where not is_compared) from later), 0)) as other_credits,
      coalesce((select last_batch_sequence from billing_accounts where org_id = ${orgId}), 0) as batch_count,
      trim_scale((select usage_offset from base)) as usage_offset, nullif((select balance_ids from base), '') as balance_ids,
      exists (select 1 from later l where l.state = 'sending' or (not l.is_compared and l.state <> 'delivered' and l.first_sent_at is not null and l.expected is null)
          or exists (select 1 from settlement_attempts t where t.batch_id = l.batch_id and coalesce(t.finished_at, t.started_at) >= ${options.since}::timestamptz))
        or exists (select 1 from settlement_corrections c where c.org_id = ${orgId} and (c.state = 'sending' or c.finished_at >= ${options.since}::timestamptz)) as is_moving`.execute(
    db,
  );
  const row = result.rows[0];
  return {
    otherCredits: row?.other_credits ?? "0",
    batchCount: row?.batch_count ?? 0,
    usageOffset: row?.usage_offset ?? "0",
    balanceIds: row?.balance_ids ?? null,
    isMoving: row?.is_moving ?? false,
  };
}

/** Notes how far the sink's own sum is off while nothing is amiss, and which batches are settled for good: none that was compared just now, none before one that is open. */
export async function writeBaseline(
  db: DatabaseExecutor,
  orgId: string,
  baseline: { readonly usageOffset: string; readonly balanceIds: string; readonly comparedIds: readonly string[] },
): Promise<void> {
  await sql`
    with base as materialized (
      select coalesce(max(through_sequence), 0) as through_sequence, coalesce(max(through_credits), 0) as through_credits from delivery_baselines where org_id = ${orgId}
    ), later as materialized (
      select b.sequence, ${EXPECTED} as expected,
        b.batch_id = any(${baseline.comparedIds as string[]}::uuid[]) or b.state not in ('delivered', 'shortfall') as is_open
      from settlement_batches b where b.org_id = ${orgId} and b.sequence > (select through_sequence from base)
    ), settled as materialized (
      select l.* from later l where l.sequence < coalesce((select min(sequence) from later where is_open), 2147483647)
    )
    insert into delivery_baselines (org_id, usage_offset, balance_ids, through_sequence, through_credits, compared_at)
    select ${orgId}, ${baseline.usageOffset}::numeric, ${baseline.balanceIds}, greatest(base.through_sequence, coalesce((select max(sequence) from settled), 0)),
      base.through_credits + coalesce((select sum(expected) from settled), 0), billing_now()
    from base
    on conflict (org_id) do update
    set usage_offset = excluded.usage_offset, balance_ids = excluded.balance_ids, through_sequence = excluded.through_sequence, through_credits = excluded.through_credits, compared_at = excluded.compared_at`.execute(
    db,
  );
}

/** Of batches that a person looked at: what the sink's record said then, and the person left at that. */
export async function readDecided(db: DatabaseExecutor, batchIds: readonly string[]): Promise<ReadonlyMap<string, string | null>> {
  const result = await sql<{ batch_id: string; found_credits: string | null }>`
    select distinct on (batch_id) batch_id, trim_scale(found_credits) as found_credits from delivery_findings
    where batch_id = any(${batchIds as string[]}::uuid[]) and decided_at is not null
    order by batch_id, decided_at desc`.execute(db);
  return new Map(result.rows.map((row) => [row.batch_id, row.found_credits]));
}

/** Delivered, as the sink's record shows. Changes only a batch that waits for its comparison, has no stated deduction, or one of more than all. */
export async function confirmDelivery(db: DatabaseExecutor, batchId: string): Promise<void> {
  await sql`
    update settlement_batches s
    set state = 'delivered', needs_reconcile = false, deducted_credits = s.credits, delivered_at = coalesce(s.delivered_at, billing_now()),
      last_error_code = null, last_error = null
    from settlement_batches b
    where b.batch_id = ${batchId} and s.batch_id = b.batch_id and (b.needs_reconcile or b.state = 'dead' or (b.state = 'delivered' and b.deducted_credits is null) or ${IS_TAKEN_TOO_MUCH})`.execute(
    db,
  );
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
  /** Differences that no comparison found gone, and nobody decided. */
  readonly open_findings: number;
}

/** A batch, locked until the transaction ends; undefined for an unknown id. */
export async function lockBatch(tx: DatabaseExecutor, batchId: string): Promise<UndecidedBatchRow | undefined> {
  const result = await sql<UndecidedBatchRow>`
    select org_id, trim_scale(credits) as credits, state, needs_reconcile, redrive_count, first_sent_at is not null as was_sent, trim_scale(deducted_credits) as deducted_credits,
      (select count(*)::int from delivery_findings f where f.batch_id = b.batch_id and f.resolved_at is null) as open_findings
    from settlement_batches b where batch_id = ${batchId}::uuid for update`.execute(tx);
  return result.rows[0];
}

/** Closes what comparisons found of the batch, because a person decided it. With `staysClosed` a comparison opens it again only when the sink's record says something else. */
export async function closeFindings(
  tx: DatabaseExecutor,
  batchId: string,
  { staysClosed }: { readonly staysClosed: boolean },
): Promise<void> {
  await sql`
    update delivery_findings set resolved_at = billing_now(), decided_at = case when ${staysClosed} then billing_now() end
    where batch_id = ${batchId}::uuid and resolved_at is null`.execute(tx);
}

interface FindingRow {
  readonly batchId: string;
  readonly orgId: string;
  readonly kind: DeliveryFindingKind;
  readonly expectedCredits: string;
  readonly foundCredits: string | null;
  readonly message: string;
}

/** Notes the findings, and closes those of the compared batches that are gone. */
export async function recordFindings(
  db: DatabaseExecutor,
  comparedBatchIds: readonly string[],
  findings: readonly FindingRow[],
): Promise<void> {
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
        last_seen_at = excluded.last_seen_at, resolved_at = null, decided_at = null
    )
    update delivery_findings d set resolved_at = (select now from clock)
    where d.resolved_at is null and d.batch_id = any(${comparedBatchIds as string[]}::uuid[])
      and not exists (select 1 from found f where f.batch_id = d.batch_id and f.kind = d.kind)`.execute(db);
}

interface BegunCorrection {
  readonly sequence: number;
  readonly idempotencyKey: string;
  /** An earlier attempt used this key: a refused duplicate means that it was applied. */
  readonly mayBeApplied: boolean;
}

/**
 * Puts a correction on record before it is made. One that is still open for the same amount is taken up again under its key
 * while the sink remembers it, and given up after that (the comparison has just shown that it was not applied). Undefined where
 * another amount is under way, or where another correction of the batch ended since `comparedAt`, before which the sink's record
 * was not read: two who compare at once found one difference, and what the first corrected is not to be corrected again.
 */
export async function beginCorrection(
  tx: DatabaseExecutor,
  correction: {
    readonly batchId: string;
    readonly orgId: string;
    readonly credits: string;
    readonly keyMemoryMs: number;
    readonly comparedAt: string;
  },
): Promise<BegunCorrection | undefined> {
  await sql`select 1 from settlement_batches where batch_id = ${correction.batchId} for update`.execute(tx);
  const later = await sql`
    select 1 from settlement_corrections where batch_id = ${correction.batchId} and finished_at >= ${correction.comparedAt}::timestamptz limit 1`.execute(
    tx,
  );
  if (later.rows.length > 0) return undefined;
  await sql`
    update settlement_corrections set state = 'refused', finished_at = billing_now(), error_code = 'key_forgotten'
    where batch_id = ${correction.batchId} and state = 'sending'
      and created_at < billing_now() - ${correction.keyMemoryMs} * interval '1 millisecond'`.execute(tx);
  const open = await sql<{ sequence: number; idempotency_key: string; credits: string }>`
    select sequence, idempotency_key, trim_scale(credits) as credits from settlement_corrections
    where batch_id = ${correction.batchId} and state = 'sending'`.execute(tx);
  const [row] = open.rows;
  if (row)
    return row.credits === correction.credits
      ? { sequence: row.sequence, idempotencyKey: row.idempotency_key, mayBeApplied: true }
      : undefined;
  const begun = await sql<{ sequence: number; idempotency_key: string }>`
    insert into settlement_corrections (batch_id, sequence, org_id, idempotency_key, credits, state, created_at)
    select ${correction.batchId}, n, ${correction.orgId}, 'pc:' || ${correction.batchId} || '.' || n, ${correction.credits}::numeric, 'sending', billing_now()
    from (select coalesce(max(sequence), 0) + 1 as n from settlement_corrections where batch_id = ${correction.batchId}) next
    returning sequence, idempotency_key`.execute(tx);
  const [made] = begun.rows;
  return made && { sequence: made.sequence, idempotencyKey: made.idempotency_key, mayBeApplied: false };
}

/** Records how a correction at the sink ended. A correction that has ended is left as it is. */
export async function finishCorrection(
  db: DatabaseExecutor,
  batchId: string,
  sequence: number,
  end: { readonly state: "applied" | "refused"; readonly errorCode: string | null },
): Promise<void> {
  await sql`
    update settlement_corrections set state = ${end.state}, finished_at = billing_now(), error_code = ${end.errorCode}
    where batch_id = ${batchId} and sequence = ${sequence} and state = 'sending'`.execute(db);
}

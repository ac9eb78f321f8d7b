/** Statements of settlement: seal, claim, attempt, record, redrive. The states they move between: README.md. */
import type { DatabaseExecutor, SettlementState } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import { NO_BALANCE } from "../sinks/index.ts";

/** Makes the deployment's row if it has none. Idempotent. */
export async function ensureDeployment(db: DatabaseExecutor): Promise<void> {
  await sql`insert into billing_deployment default values on conflict do nothing`.execute(db);
}

/** The deployment's id, made when there was none: the same for every process on this database. */
export async function readDeploymentId(db: DatabaseExecutor): Promise<string> {
  await ensureDeployment(db);
  const result = await sql<{ deployment_id: string }>`select deployment_id from billing_deployment`.execute(db);
  return result.rows[0]?.deployment_id ?? "";
}

/** Restricts a statement to some orgs; all when `orgIds` is undefined. */
export interface OrgSelection {
  readonly orgIds?: readonly string[] | undefined;
}

function selected(table: string, { orgIds }: OrgSelection): RawBuilder<boolean> {
  return orgIds === undefined ? sql`true` : sql`${sql.ref(`${table}.org_id`)} = any(${orgIds as string[]}::text[])`;
}

/**
 * Locks the accounts of orgs with open events, in order of org id after `afterOrgId`, at most `limit`. It waits for whoever
 * writes events of them or seals them; what the other sealed meanwhile is left out. The lock lasts as long as the transaction.
 */
export async function lockAccountsToSeal(
  tx: DatabaseExecutor,
  options: { readonly afterOrgId: string; readonly limit: number } & OrgSelection,
): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`
    select a.org_id from billing_accounts a
    where a.org_id > ${options.afterOrgId} and ${selected("a", options)} and a.last_event_id > a.sealed_event_id
    order by a.org_id
    limit ${options.limit}
    for no key update`.execute(tx);
  return result.rows.map((row) => row.org_id);
}

interface SealedBatch {
  readonly batchId: string;
  readonly orgId: string;
  readonly eventCount: number;
  readonly credits: string;
  readonly state: SettlementState;
}

export interface SealedBatches {
  readonly batches: readonly SealedBatch[];
  /** Orgs of which nothing was sealed, because their open events are not what their account says. */
  readonly refusedOrgIds: readonly string[];
}

/**
 * Seals all open events of each given org into one batch, which covers them by the range of their ids. Call it in the
 * transaction that locked the accounts, as a later statement: only then does it see what the former holder of the lock did.
 * Number and sum are taken from the events and must be the account's; else the org is refused, whole. An org whose
 * corrections outweigh its usage keeps its events open; a batch that rounds to nothing is delivered at once, its remainder
 * carried.
 */
export async function sealBatches(tx: DatabaseExecutor, orgIds: readonly string[]): Promise<SealedBatches> {
  const result = await sql<{
    batch_id: string | null;
    org_id: string;
    event_count: number;
    credits: string;
    state: SettlementState;
    is_refused: boolean;
  }>`
    with clock as materialized (select billing_now() as now), found as materialized (
      select a.*, e.*, e.event_count <> a.open_event_count or e.credits <> a.open_credits as is_refused
      from billing_accounts a
      cross join lateral (
        select count(*)::int as event_count, coalesce(sum(spend_usd), 0) as spend_usd, coalesce(sum(credits), 0) as credits,
          coalesce(min(recorded_at), '-infinity') as oldest_event_at
        from billing_events
        where org_id = a.org_id and event_id > a.sealed_event_id and event_id <= a.last_event_id and recorded_at >= a.open_since
      ) e
      where a.org_id = any(${orgIds as string[]}::text[])
    ), batches as (
      select a.*, a.last_batch_sequence + 1 as sequence, a.carry_credits as carry_in, settleable_credits(a.credits + a.carry_credits) as settled,
        settlement_batch_id(d.deployment_id, a.org_id, a.last_batch_sequence + 1) as batch_id
      from found a cross join billing_deployment d
      where not a.is_refused and a.credits + a.carry_credits >= 0
    ), sealed as (
      insert into settlement_batches (batch_id, org_id, sequence, idempotency_key, after_event_id, through_event_id, oldest_event_at, event_count, spend_usd, events_credits,
        carry_in, carry_out, credits, state, sealed_at, next_attempt_at, delivered_at, deducted_credits)
      select batch_id, org_id, sequence, 'pb:' || batch_id, sealed_event_id, last_event_id, oldest_event_at, event_count, spend_usd, credits,
        carry_in, credits + carry_in - settled, settled, case when settled = 0 then 'delivered' else 'sealed' end, clock.now, clock.now, case when settled = 0 then clock.now end,
        case when settled = 0 then 0 end
      from batches cross join clock
      returning batch_id, org_id, event_count, credits, state
    ), accounts as (
      update billing_accounts a
      set carry_credits = trim_scale(b.credits + b.carry_in - b.settled), last_batch_sequence = b.sequence, sealed_event_id = a.last_event_id,
        open_event_count = 0, open_credits = 0
      from batches b where a.org_id = b.org_id
    )
    select s.batch_id, org_id, s.event_count, s.credits, s.state, f.is_refused from found f left join sealed s using (org_id)
    where s.batch_id is not null or f.is_refused`.execute(tx);
  return {
    batches: result.rows.flatMap(({ batch_id: batchId, ...row }) =>
      batchId === null ? [] : [{ batchId, orgId: row.org_id, eventCount: row.event_count, credits: row.credits, state: row.state }],
    ),
    refusedOrgIds: result.rows.filter((row) => row.is_refused).map((row) => row.org_id),
  };
}

/** Flags what may have been applied so long ago that the sink has forgotten the key: it is not sent again. Returns how many are new. */
export async function flagForgottenKeys(db: DatabaseExecutor, keyMemoryMs: number): Promise<number> {
  const result = await sql`
    update settlement_batches
    set state = 'unknown', needs_reconcile = true, lease_until = null, lease_token = lease_token + 1,
      last_error_code = 'key_forgotten', last_error = 'may have been applied longer ago than the sink remembers its key; compare before sending again'
    where state in ('sealed', 'sending', 'unknown', 'parked') and not needs_reconcile
      and first_sent_at < (select billing_now()) - ${keyMemoryMs} * interval '1 millisecond'
      and (lease_until is null or lease_until < (select billing_now()))`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/** A batch that may be sent: not first tried so long ago that the sink may have forgotten its key. Told again right before each attempt, as a pass may have stood still. */
export const remembersKey = (keyMemoryMs: number): RawBuilder<boolean> =>
  sql`(b.first_sent_at is null or b.first_sent_at >= (select now from clock) - ${keyMemoryMs} * interval '1 millisecond')`;

/** Names a claim: a statement with an older token than the row's changes nothing. */
interface Claim {
  readonly batchId: string;
  readonly leaseToken: number;
}

interface AttemptOptions {
  /** With which the sink is asked, this time and each later time. */
  readonly idempotencyKey: string;
  /** How long the claim holds from now on. */
  readonly leaseMs: number;
  /** As of the claim; looked at again, since time has passed. */
  readonly keyMemoryMs: number;
}

/**
 * Puts an attempt on record before it is made, so that a crash during the call is seen as "may have been applied", and
 * renews the lease. Returns the attempt's number, or undefined when the claim was lost, or the key may be forgotten by now:
 * then nothing may be sent.
 */
export async function beginAttempt(db: DatabaseExecutor, claim: Claim, options: AttemptOptions): Promise<number | undefined> {
  const result = await sql<{ attempt: number }>`
    with clock as materialized (select billing_now() as now), batch as (
      update settlement_batches b
      set attempt_count = b.attempt_count + 1, first_sent_at = coalesce(b.first_sent_at, (select now from clock)),
        lease_until = (select now from clock) + ${options.leaseMs} * interval '1 millisecond'
      where b.batch_id = ${claim.batchId} and b.lease_token = ${claim.leaseToken} and b.state = 'sending' and ${remembersKey(options.keyMemoryMs)}
      returning b.batch_id, b.attempt_count
    )
    insert into settlement_attempts (batch_id, attempt, idempotency_key, started_at)
    select batch_id, attempt_count, ${options.idempotencyKey}, clock.now from batch cross join clock
    returning attempt`.execute(db);
  return result.rows[0]?.attempt;
}

export interface AttemptRecord {
  readonly attempt: number;
  /** Word of the outcome, for audits. */
  readonly outcome: string;
  readonly status: number | null;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly state: Exclude<SettlementState, "sending">;
  /** False when the sink certainly did not apply this attempt. */
  readonly mayBeApplied: boolean;
  readonly deductedCredits: string | null;
  readonly balanceAfter: string | null;
  /** When it is due again; ignored by states that are not sent again. */
  readonly retryInMs: number;
  /** Whether all of the org's batches wait as long: what failed would fail for each of them. */
  readonly holdsOrg: boolean;
  /** Whether it is not sent again before it was compared with the sink's record. */
  readonly needsReconcile: boolean;
}

/** Closes an attempt for audits, whoever holds the batch by now. */
export async function finishAttempt(db: DatabaseExecutor, batchId: string, record: AttemptRecord): Promise<void> {
  await sql`
    update settlement_attempts
    set finished_at = billing_now(), outcome = ${record.outcome}, status = ${record.status}, error_code = ${record.errorCode}
    where batch_id = ${batchId} and attempt = ${record.attempt}`.execute(db);
}

/**
 * Whether another batch of the org rests because the sink had nothing to take from. As long as one does, the org's back-off says
 * `no_balance`, whatever the org's later attempts come to: it is the only thing by which the sink is asked again, so whoever took the
 * mark away would leave the batch there for good.
 */
const restsWithoutBalance = (orgId: string, exceptBatchId: string | null = null): RawBuilder<boolean> => sql<boolean>`exists (
  select 1 from settlement_batches r
  where r.org_id = ${sql.ref(orgId)} and r.state = 'unapplied' and r.last_error_code = ${NO_BALANCE} and r.deducted_credits = 0
    and r.batch_id is distinct from ${exceptBatchId}::uuid)`;

/**
 * Moves the batch on and gives the claim back; the org's other batches wait with it, or no longer do. An org that the sink had
 * nothing to take from stays one whatever another of its batches meets, and is asked about at once when one was taken. What a shortfall lost is
 * never collected, so it goes back to the org's own balance in the same statement. Returns false, changing nothing, when the
 * claim was lost.
 */
export async function recordOutcome(db: DatabaseExecutor, claim: Claim, record: AttemptRecord): Promise<boolean> {
  const result = await sql`
    with clock as materialized (select billing_now() as now), moved as (
      update settlement_batches b
      set state = ${record.state}, lease_until = null, needs_reconcile = ${record.needsReconcile},
        next_attempt_at = (select now from clock) + ${record.retryInMs} * interval '1 millisecond',
        first_sent_at = case when ${record.mayBeApplied} then b.first_sent_at
          else nullif(b.first_sent_at, (select started_at from settlement_attempts where batch_id = b.batch_id and attempt = ${record.attempt})) end,
        delivered_at = case when ${record.state} = 'delivered' then (select now from clock) end,
        deducted_credits = ${record.deductedCredits}::numeric, balance_after = ${record.balanceAfter}::numeric,
        last_error_code = ${record.errorCode}, last_error = ${record.errorMessage}
      where batch_id = ${claim.batchId} and lease_token = ${claim.leaseToken} and state = 'sending'
      returning b.org_id, b.next_attempt_at, b.state, b.credits - b.deducted_credits as lost_credits
    ), given_back as (
      update billing_accounts a set balance_credits = a.balance_credits + moved.lost_credits
      from moved where moved.state = 'shortfall' and a.org_id = moved.org_id
    ), held as (
      insert into settlement_org_backoff (org_id, failure_count, retry_at, error_code)
      select org_id, 1, next_attempt_at, case when ${restsWithoutBalance("moved.org_id")} then ${NO_BALANCE} else ${record.errorCode}::text end
      from moved where ${record.holdsOrg}
      on conflict (org_id) do update
      set failure_count = settlement_org_backoff.failure_count + 1, retry_at = excluded.retry_at, error_code = excluded.error_code
    ), asked as (
      insert into settlement_org_backoff (org_id, failure_count, retry_at, error_code)
      select org_id, 1, (select now from clock), ${NO_BALANCE} from moved where not ${record.holdsOrg} and ${restsWithoutBalance("moved.org_id")}
      on conflict (org_id) do update set retry_at = excluded.retry_at, error_code = excluded.error_code
    ), freed as (
      delete from settlement_org_backoff o using moved
      where o.org_id = moved.org_id and not ${record.holdsOrg} and not ${restsWithoutBalance("moved.org_id")}
    )
    select org_id from moved`.execute(db);
  return result.rows.length > 0;
}

/** Gives claims back that were not begun, due as before. Lost claims are left alone. */
export async function releaseClaims(db: DatabaseExecutor, claims: readonly Claim[]): Promise<void> {
  if (claims.length === 0) return;
  await sql`
    update settlement_batches b
    set state = case when b.first_sent_at is null then 'sealed' else 'unknown' end, lease_until = null
    from unnest(${claims.map((claim) => claim.batchId)}::uuid[], ${claims.map((claim) => claim.leaseToken)}::int[]) as claim (batch_id, lease_token)
    where b.batch_id = claim.batch_id and b.lease_token = claim.lease_token and b.state = 'sending'`.execute(db);
}

/**
 * Makes a batch that came to rest undelivered due again under its next key: `parked` and `dead`, and `unapplied` where the
 * sink said that it took nothing. Returns false for any other. It is for a person who corrected what the batch's error names.
 */
export async function redriveBatch(db: DatabaseExecutor, batchId: string): Promise<boolean> {
  // This locks the org's back-off before its batch. `redriveWithoutBalance` locks in the same order, so the two cannot deadlock.
  await sql`select 1 from settlement_org_backoff where org_id = (select org_id from settlement_batches where batch_id = ${batchId}) for update`.execute(
    db,
  );
  const result = await sql`
    with redriven as (
      update settlement_batches
      set state = 'sealed', redrive_count = redrive_count + 1, next_attempt_at = billing_now(), lease_until = null,
        first_sent_at = null, deducted_credits = null
      where batch_id = ${batchId}
        and ((state in ('parked', 'dead') and first_sent_at is null) or (state = 'unapplied' and deducted_credits = 0))
      returning org_id
    ), asked as (
      update settlement_org_backoff o set retry_at = billing_now(), error_code = ${NO_BALANCE}
      from redriven r where o.org_id = r.org_id and ${restsWithoutBalance("r.org_id", batchId)}
    ), freed as (
      delete from settlement_org_backoff o using redriven r where o.org_id = r.org_id and not ${restsWithoutBalance("r.org_id", batchId)}
    )
    select org_id from redriven`.execute(db);
  return result.rows.length > 0;
}

/** Whether the sink ever had something to take from the org: then "no balance" means that it is used up. */
export async function hadBalance(db: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql<{ had: boolean }>`
    select exists (select 1 from org_gates where org_id = ${orgId} and remote_granted_credits > 0)
      or exists (select 1 from settlement_batches where org_id = ${orgId} and deducted_credits > 0) as had`.execute(db);
  return result.rows[0]?.had ?? false;
}

/**
 * Takes orgs of which it is time to ask whether the sink has a balance by now, the longest waiting first, and puts their next
 * turn off: 20 s doubled with each time up to 15 min. So no two workers ask for one org at once. A new batch of
 * the org may be sent in the same pass; it then finds nothing to take from and waits with the others.
 */
export async function takeOrgsWithoutBalance(
  db: DatabaseExecutor,
  options: { readonly limit: number } & OrgSelection,
): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`
    with clock as materialized (select billing_now() as now), due as (
      select o.org_id from settlement_org_backoff o
      where o.error_code = ${NO_BALANCE} and o.retry_at <= (select now from clock) and ${selected("o", options)}
      order by o.retry_at, o.org_id
      limit ${options.limit}
      for update skip locked
    )
    update settlement_org_backoff o
    set failure_count = o.failure_count + 1, retry_at = (select now from clock) + least(20 * power(2, least(o.failure_count, 10)), 900) * interval '1 second'
    from due where o.org_id = due.org_id
    returning o.org_id`.execute(db);
  return result.rows.map((row) => row.org_id);
}

/**
 * Makes all that the sink had no balance for due again, each under its next key, because it has one now. The sink stated that
 * it took nothing, so nothing can be taken twice. Returns how many batches. Needs a transaction: whoever records another such answer holds the
 * org's back-off, and only a statement that begins after having waited for it sees the batch that came to rest meanwhile.
 */
export async function redriveWithoutBalance(tx: DatabaseExecutor, orgId: string): Promise<number> {
  await sql`delete from settlement_org_backoff where org_id = ${orgId} and error_code = ${NO_BALANCE}`.execute(tx);
  const result = await sql`
    update settlement_batches
    set state = 'sealed', redrive_count = redrive_count + 1, next_attempt_at = billing_now(), lease_until = null, first_sent_at = null, deducted_credits = null
    where org_id = ${orgId} and state = 'unapplied' and last_error_code = ${NO_BALANCE} and deducted_credits = 0`.execute(tx);
  return Number(result.numAffectedRows ?? 0n);
}

/** A balance of the org was seen at the sink: where it waits for one, it is asked about at the next pass and not only when its back-off ends. */
export async function endWaitForBalance(db: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`
    update settlement_org_backoff set retry_at = billing_now()
    where org_id = ${orgId} and error_code = ${NO_BALANCE} and retry_at > billing_now()`.execute(db);
}

/** Orgs whose last attempt failed. Few: each costs an attempt of its own. */
export async function readWaitingOrgs(db: DatabaseExecutor): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`select org_id from settlement_org_backoff order by org_id limit 1000`.execute(db);
  return result.rows.map((row) => row.org_id);
}

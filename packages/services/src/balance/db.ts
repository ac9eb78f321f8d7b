/** Statements on balances. */
import type { BalanceReconciliationTable, DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Insertable, type RawBuilder, type Selectable, sql } from "kysely";
import { isGateOf } from "../billing-gate/index.ts";
import type { RateCard } from "../rates/index.ts";
import type { RemoteSubscription } from "./remote-balance.ts";

/** The billing clock, exactly, as text that the database reads back. */
export async function readBillingNow(db: DatabaseExecutor): Promise<string> {
  const result = await sql<{ now: string }>`select billing_now()::text as now`.execute(db);
  return result.rows[0]?.now ?? "";
}

/** Our balance and what the sink has not taken of it yet, of one organization. */
export interface UnpostedRow {
  readonly balance_credits: DecimalText | null;
  readonly certain_credits: DecimalText;
  readonly uncertain_credits: DecimalText;
  /** How often the org was settled: the sink's sum is off by so many roundings. */
  readonly batch_count: number;
}

/** Where the books of an org stood before its balance was asked for. */
export interface ReadingStart {
  /** The billing clock, as {@link readBillingNow} tells it. */
  readonly readAt: string;
  readonly lastBatchSequence: number;
  /** Batches up to that one that had not come to rest: delivered, or found short. */
  readonly openSequences: readonly number[];
}

/**
 * Call it before the sink is asked. What comes to rest between this and the booking may be in the reading or not; it is known by
 * the numbers of its batches, not by a time of day, because the database's clock can be set back in between.
 */
export async function beginReading(db: DatabaseExecutor, orgId: string): Promise<ReadingStart> {
  const result = await sql<{ now: string; last_batch_sequence: number; open_sequences: number[] }>`
    select billing_now()::text as now, coalesce((select last_batch_sequence from billing_accounts where org_id = ${orgId}), 0) as last_batch_sequence,
      array(select sequence from settlement_batches where org_id = ${orgId} and state <> 'delivered' and state <> 'shortfall') as open_sequences`.execute(
    db,
  );
  const row = result.rows[0];
  return { readAt: row?.now ?? "", lastBatchSequence: row?.last_batch_sequence ?? 0, openSequences: row?.open_sequences ?? [] };
}

/**
 * An org's balance and what the sink has not taken of its usage. Batches that came to rest since `start` count as uncertain: the
 * reading may have seen them or not. The account is locked until the transaction ends, so that no ingest comes in between;
 * undefined without one.
 */
export async function lockUnposted(tx: DatabaseExecutor, orgId: string, start: ReadingStart): Promise<UnpostedRow | undefined> {
  await sql`select 1 from billing_accounts where org_id = ${orgId} for update`.execute(tx);
  return readUnposted(tx, orgId, start);
}

/** As {@link lockUnposted}, without a lock: for a dry run. */
export async function readUnposted(db: DatabaseExecutor, orgId: string, start: ReadingStart): Promise<UnpostedRow | undefined> {
  const result = await sql<UnpostedRow>`
    select a.balance_credits, u.certain_credits,
      u.uncertain_credits + coalesce((select sum(case b.state when 'delivered' then greatest(b.credits, 0) else b.deducted_credits end) from settlement_batches b
        where b.org_id = a.org_id and b.state in ('delivered', 'shortfall')
          and (b.sequence > ${start.lastBatchSequence} or b.sequence = any(${start.openSequences as number[]}::integer[]))), 0) as uncertain_credits,
      a.last_batch_sequence as batch_count
    from billing_accounts a join billing_unposted u using (org_id)
    where a.org_id = ${orgId}`.execute(db);
  return result.rows[0];
}

/** Sets our balance. The caller holds the account's lock, or usage that arrives meanwhile is lost from it. */
export async function writeBalance(tx: DatabaseExecutor, orgId: string, balanceCredits: DecimalText): Promise<void> {
  await sql`update billing_accounts set balance_credits = ${balanceCredits}::numeric where org_id = ${orgId}`.execute(tx);
}

/**
 * Notes what the sink said at `readAt`, and that requests up to then are served. Where it tells of a subscription, that says
 * whether the org is on trial; where it tells of none, what was set by hand stays.
 */
export async function writeReading(
  tx: DatabaseExecutor,
  reading: {
    readonly orgId: string;
    readonly readAt: string;
    readonly grantedCredits: DecimalText;
    readonly forgivenCredits: DecimalText;
    readonly nextResetAt: Date | null;
    readonly subscription: RemoteSubscription | null;
  },
): Promise<void> {
  const trialEndsAt = reading.subscription?.trialEndsAt ?? null;
  await sql`
    update org_gates
    set plan = case when ${reading.subscription === null} then plan when ${trialEndsAt}::timestamptz > ${reading.readAt}::timestamptz then 'trial' else 'paid' end,
      remote_plan_id = ${reading.subscription?.planId ?? null}, remote_trial_ends_at = ${trialEndsAt},
      remote_granted_credits = ${reading.grantedCredits}::numeric, remote_forgiven_credits = ${reading.forgivenCredits}::numeric, remote_next_reset_at = ${reading.nextResetAt},
      reconciled_at = ${reading.readAt}::timestamptz, reconcile_retry_at = null, reconcile_problem = null,
      reconcile_wanted_at = case when reconcile_wanted_at > ${reading.readAt}::timestamptz then reconcile_wanted_at end
    where org_id = ${reading.orgId}`.execute(tx);
}

/** Whether a reading that began after `readAt` is booked already; exact to the microsecond, which a Date is not. */
export async function hasNewerReading(tx: DatabaseExecutor, orgId: string, readAt: string): Promise<boolean> {
  const result = await sql<{
    newer: boolean | null;
  }>`select reconciled_at > ${readAt}::timestamptz as newer from org_gates where org_id = ${orgId}`.execute(tx);
  return result.rows[0]?.newer ?? false;
}

/**
 * What was under way at the org's first reading, and taken off its balance to be sure; "0" once another reading has changed the balance.
 * Each later reading that finds agreement writes no row, so the first row stays the last until then.
 */
export async function readFirstSightDoubt(db: DatabaseExecutor, orgId: string): Promise<DecimalText> {
  const result = await sql<{ doubt: DecimalText }>`
    select case when before_credits is null then uncertain_credits else 0 end as doubt
    from balance_reconciliations where org_id = ${orgId} order by reconciliation_id desc limit 1`.execute(db);
  return result.rows[0]?.doubt ?? "0";
}

/** Asks for another reading, in `inMs`. */
export async function writeReadAgain(tx: DatabaseExecutor, orgId: string, inMs: number): Promise<void> {
  await sql`
    update org_gates set reconcile_wanted_at = billing_now(), reconcile_retry_at = billing_now() + ${inMs} * interval '1 millisecond'
    where org_id = ${orgId}`.execute(tx);
}

/**
 * Notes what one USD of provider cost takes from an org as of now: markup x credits per USD of the rate
 * card that is valid for it, else of the one for everybody, else `fallback`. Returns how many changed. Idempotent.
 */
export async function writeRates(db: DatabaseExecutor, orgId: string, fallback: RateCard): Promise<number> {
  const result = await sql`
    with ${cardsInForce(fallback)}, rates as (
      select g.org_id, coalesce((select rate from cards where org_id = g.org_id), base.rate) as credits_per_spend_usd from org_gates g cross join base where g.org_id = ${orgId}
    )
    ${MOVE_RATES}`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/**
 * As {@link writeRates}, for all orgs: those without a rate, and every one where the cards that are valid, or `fallback`, are not what
 * they were the last time. Returns how many changed. Idempotent.
 */
export async function writeAllRates(db: DatabaseExecutor, fallback: RateCard): Promise<number> {
  const result = await sql`
    with ${cardsInForce(fallback)}, seen as (
      select coalesce(sum(hashtextextended(concat_ws('/', org_id, rate::text), 0)), 0) + (select hashtextextended(rate::text, 1) from base) as seen from cards
    ), changed as (
      insert into billing_deployment as d (rates_seen) select seen from seen
      on conflict (singleton) do update set rates_seen = excluded.rates_seen where d.rates_seen is distinct from excluded.rates_seen
      returning 1
    ), rates as (
      select g.org_id, coalesce(own.rate, base.rate) as credits_per_spend_usd
      from (
        select org_id from org_gates where credits_per_spend_usd is null
        union select org_id from org_gates where (select count(*) from changed) > 0
      ) g cross join base left join cards own on own.org_id = g.org_id
    )
    ${MOVE_RATES}`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/** `cards`: what a USD of provider cost takes by each card that is valid now; `base`: by the card for everybody, else by `fallback`. */
const cardsInForce = (fallback: RateCard): RawBuilder<unknown> => sql`cards as materialized (
      select c.org_id, c.markup * c.credits_per_usd as rate from rate_cards c, (select billing_now() as now) clock where c.valid_from <= clock.now and c.valid_to > clock.now
    ), base as materialized (
      select coalesce((select rate from cards where org_id is null), ${fallback.markup}::numeric * ${fallback.creditsPerUsd}::numeric) as rate
    )`;

const MOVE_RATES: RawBuilder<unknown> = sql`update org_gates g set credits_per_spend_usd = r.credits_per_spend_usd
    from rates r where g.org_id = r.org_id and g.credits_per_spend_usd is distinct from r.credits_per_spend_usd`;

/** Notes why there is no reading; the next try is `retryInMs` from now. */
export async function writeReadingProblem(db: DatabaseExecutor, orgId: string, problem: string, retryInMs: number): Promise<void> {
  await sql`
    update org_gates set reconcile_problem = ${problem}, reconcile_retry_at = billing_now() + ${retryInMs} * interval '1 millisecond'
    where org_id = ${orgId}`.execute(db);
}

/** Asks for a reading of an org's balance; it is at the front of the next tick. Idempotent. A kept account has none to be read, so nothing is asked for. */
export async function writeReconcileWanted(db: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`update org_gates set reconcile_wanted_at = billing_now(), reconcile_retry_at = null where org_id = ${orgId} and account_mode = 'settled'`.execute(
    db,
  );
}

const before = (ms: number): RawBuilder<Date> => sql`billing_now() - ${ms}::float8 * interval '1 millisecond'`;

/** An organization whose balance is to be compared now, and why. */
interface DueOrg {
  readonly org_id: string;
  readonly trigger: "first_sight" | "scheduled" | "on_demand";
}

/**
 * Orgs whose balance has to be read: asked for, never read, at the end of a trial, without credits for `outOfCreditsMs` since the last reading, or
 * not read for `everyMs`; the longest waiting first. One whose reading failed a moment ago waits for its next try. Kept accounts are not among them.
 */
export async function listOrgsToReconcile(
  db: DatabaseExecutor,
  options: { readonly limit: number; readonly everyMs: number; readonly outOfCreditsMs: number },
): Promise<readonly DueOrg[]> {
  const due = sql`g.account_mode = 'settled' and (g.reconcile_retry_at is null or g.reconcile_retry_at <= (select now from clock))
      and (g.reconciled_at is null or g.reconcile_wanted_at is not null
        or (g.remote_trial_ends_at > g.reconciled_at and g.remote_trial_ends_at <= (select now from clock))
        or g.reconciled_at <= (select regular from clock)
        or (g.reconciled_at <= (select used_up from clock) and not coalesce((select a.balance_credits > 0 from billing_accounts a where a.org_id = g.org_id), false)))
      and exists (select from billing_accounts a where a.org_id = g.org_id offset 0)`;
  // Each kind is found by its own index, the longest waiting first, so that who is not due is not looked at.
  const result = await sql<DueOrg>`
    with clock as materialized (select billing_now() as now, ${before(options.everyMs)} as regular, ${before(options.outOfCreditsMs)} as used_up), found as (
      (select g.org_id from org_gates g where g.reconcile_wanted_at is not null and ${due} order by g.reconcile_wanted_at limit ${options.limit})
      union
      (select g.org_id from org_gates g where g.reconciled_at is null and ${due} order by g.reconciled_at nulls first limit ${options.limit})
      union
      (select g.org_id from org_gates g where g.remote_trial_ends_at > g.reconciled_at and g.remote_trial_ends_at <= (select now from clock) and ${due} limit ${options.limit})
      union
      (select g.org_id from org_gates g where g.reconciled_at <= (select regular from clock) and ${due} order by g.reconciled_at limit ${options.limit})
      union
      (select g.org_id from billing_accounts u cross join lateral (select * from org_gates where ${isGateOf("u")} offset 0) g
        where case u.mode when 'settled' then coalesce(u.balance_credits <= 0, true) else false end and g.reconciled_at <= (select used_up from clock) and ${due} order by g.reconciled_at limit ${options.limit})
    )
    select g.org_id, case when g.reconciled_at is null then 'first_sight' when g.reconcile_wanted_at is not null then 'on_demand' else 'scheduled' end as trigger
    from found cross join lateral (select * from org_gates where org_id = found.org_id offset 0) g
    order by g.reconcile_wanted_at nulls last, g.reconciled_at nulls first, g.org_id
    limit ${options.limit}`.execute(db);
  return result.rows;
}

/** Records one comparison, dated by the database's clock. Part of the caller's transaction, with the balance that it sets. */
export async function insertReconciliation(
  tx: DatabaseExecutor,
  row: Omit<Insertable<BalanceReconciliationTable>, "reconciled_at">,
): Promise<void> {
  await tx
    .insertInto("balance_reconciliations")
    .values({ ...row, reconciled_at: sql<Date>`billing_now()` })
    .execute();
}

/** The audit rows of an org, or of all, newest first. */
export async function readReconciliations(
  db: DatabaseExecutor,
  orgId: string | null,
  limit: number,
): Promise<readonly Selectable<BalanceReconciliationTable>[]> {
  const query = db.selectFrom("balance_reconciliations").selectAll().orderBy("reconciliation_id", "desc").limit(limit);
  return (orgId === null ? query : query.where("org_id", "=", orgId)).execute();
}

/** Some orgs whose balance was read, by id. */
export async function listReadOrgs(db: DatabaseExecutor, limit: number): Promise<readonly string[]> {
  const rows = await db
    .selectFrom("org_gates")
    .select("org_id")
    .where("reconciled_at", "is not", null)
    .where("account_mode", "=", "settled")
    .orderBy("org_id")
    .limit(limit)
    .execute();
  return rows.map((row) => row.org_id);
}

/** Whether the org's account is kept: it has no balance at the sink, and none is asked for. */
export async function isKept(db: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql`select 1 from billing_accounts where org_id = ${orgId} and mode = 'kept'`.execute(db);
  return result.rows.length > 0;
}

/** Every org that spent, or that the gate was asked about; without kept accounts. */
export async function listKnownOrgs(db: DatabaseExecutor): Promise<readonly string[]> {
  const result = await sql<{
    org_id: string;
  }>`select org_id from org_gates where account_mode = 'settled' union select org_id from billing_accounts where mode = 'settled' order by org_id`.execute(
    db,
  );
  return result.rows.map((row) => row.org_id);
}

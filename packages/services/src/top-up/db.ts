/** Statements on top-ups. */
import type { DatabaseExecutor, TopUpPolicyTable, TopUpTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";

/** When an organization buys which pack. */
export interface TopUpPolicy {
  /** Default true. */
  readonly enabled?: boolean;
  /** The sink's plan that sells the pack. */
  readonly planId: string;
  /** What one pack brings. */
  readonly packCredits: DecimalText;
  /** A pack is bought at this balance or below it. Default 0. */
  readonly thresholdCredits?: DecimalText;
  /** Of a calendar month, in UTC. Default 20. */
  readonly maxPacksPerMonth?: number;
  /** Between two packs. Default one minute. */
  readonly minIntervalMs?: number;
}

/** Sets an org's policy as a whole; the breaker stays as it is. */
export async function writePolicy(db: DatabaseExecutor, orgId: string, policy: TopUpPolicy): Promise<void> {
  const values = {
    enabled: policy.enabled ?? true,
    plan_id: policy.planId,
    pack_credits: policy.packCredits,
    threshold_credits: policy.thresholdCredits ?? "0",
    max_packs_per_month: policy.maxPacksPerMonth ?? 20,
    min_interval_ms: policy.minIntervalMs ?? 60_000,
  };
  await db
    .insertInto("top_up_policies")
    .values({ org_id: orgId, ...values })
    .onConflict((conflict) => conflict.column("org_id").doUpdateSet(values))
    .execute();
}

/** Locks an org's policy until the transaction ends: one pack is planned at a time. */
export async function lockPolicy(tx: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`select 1 from top_up_policies where org_id = ${orgId} for update`.execute(tx);
}

/** Closes a breaker whose time is over, by the clock or by a new month. */
export async function closeDueBreaker(tx: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`
    update top_up_policies p set breaker_until = null, breaker_reason = null
    where p.org_id = ${orgId} and p.breaker_until is not null and (
      p.breaker_until <= billing_now()
      or not exists (select 1 from top_ups t where t.org_id = p.org_id and t.state = 'declined'
        and t.month = to_char(billing_now() at time zone 'UTC', 'YYYY-MM')))`.execute(tx);
}

/** Stops purchases of an organization for a while, and says why. */
export async function openBreaker(
  tx: DatabaseExecutor,
  orgId: string,
  options: { readonly forMs: number; readonly reason: string },
): Promise<void> {
  await sql`
    update top_up_policies set breaker_until = billing_now() + ${options.forMs} * interval '1 millisecond', breaker_reason = ${options.reason}
    where org_id = ${orgId}`.execute(tx);
}

/** Lets an organization buy again. Idempotent. */
export async function closeBreaker(db: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`update top_up_policies set breaker_until = null, breaker_reason = null where org_id = ${orgId}`.execute(db);
}

/** Orgs that a pack may be bought for, or whose pack is under way. */
export async function listOrgsToTopUp(db: DatabaseExecutor): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`
    select p.org_id from top_up_policies p join billing_accounts a using (org_id) join org_gates g using (org_id)
    where (p.enabled and g.state <> 'suspended' and a.balance_credits <= p.threshold_credits
        and not exists (select 1 from top_ups t where t.org_id = p.org_id and t.state in ('charging', 'unknown', 'needs_review')))
      or exists (select 1 from top_ups t where t.org_id = p.org_id and t.state in ('charging', 'unknown')
        and t.next_attempt_at <= billing_now() and (t.lease_until is null or t.lease_until <= billing_now()))
    order by p.org_id`.execute(db);
  return result.rows.map((row) => row.org_id);
}

/** One pack, as it is on record. */
export type TopUpRow = Selectable<TopUpTable>;
/** A policy, as it is on record, with its breaker. */
export type TopUpPolicyRow = Selectable<TopUpPolicyTable>;

/** What decides on a pack for one org: the month, the packs so far, the policy, the balance. */
const packFacts = (orgId: string) => sql`
  clock as (select billing_now() as now, to_char(billing_now() at time zone 'UTC', 'YYYY-MM') as month),
  packs as (
    select count(*) filter (where t.month = c.month and t.state <> 'declined') as counted,
      coalesce(max(t.pack_number) filter (where t.month = c.month), 0) + 1 as next_number,
      max(t.started_at) as last_started_at, max(t.finished_at) filter (where t.state = 'paid') as last_paid_at, coalesce(bool_or(t.state in ('charging', 'unknown', 'needs_review')), false) as under_way
    from clock c left join top_ups t on t.org_id = ${orgId}
    group by c.month
  ), allowed as (
    select p.*, c.month, c.now, k.next_number, g.remote_granted_credits
    from top_up_policies p join billing_accounts a using (org_id) join org_gates g using (org_id) cross join clock c cross join packs k
    where p.org_id = ${orgId} and p.enabled and p.breaker_until is null and g.state <> 'suspended' and a.balance_credits <= p.threshold_credits
      -- the balance has to be one that knows of the last pack
      and (k.last_paid_at is null or g.reconciled_at > k.last_paid_at)
      and not k.under_way and k.counted < p.max_packs_per_month
      and (k.last_started_at is null or k.last_started_at <= c.now - p.min_interval_ms * interval '1 millisecond')
  )`;

/** Whether the policy allows a pack now: what {@link insertTopUp} would decide. */
export async function isTopUpAllowed(db: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql`with ${packFacts(orgId)} select 1 from allowed`.execute(db);
  return result.rows.length > 0;
}

/**
 * Puts the org's next pack on record if its policy allows one now: enabled, breaker closed, balance at or below the
 * threshold, none under way, below the month's cap, and long enough after the last. Call it under the policy's lock.
 */
export async function insertTopUp(tx: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql`
    with ${packFacts(orgId)}, named as (
      select allowed.*, encode(substr(sha256(convert_to(d.deployment_id::text || '/top-up/' || month || '/' || next_number || '/' || org_id, 'UTF8')), 1, 16), 'hex')::uuid as top_up_id
      from allowed cross join billing_deployment d
    )
    insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, granted_before, next_attempt_at, started_at)
    select top_up_id, org_id, month, next_number, 'tu:' || top_up_id, plan_id, pack_credits, remote_granted_credits, now, now from named`.execute(
    tx,
  );
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Claims an org's pack that is due, for `leaseMs`; one whose claimer died is due again when that ends. */
export async function claimTopUp(db: DatabaseExecutor, orgId: string, leaseMs: number): Promise<TopUpRow | undefined> {
  const result = await sql<TopUpRow>`
    update top_ups
    set lease_until = billing_now() + ${leaseMs} * interval '1 millisecond', attempt_count = attempt_count + 1,
      state = case when first_sent_at is null then state else 'unknown' end, first_sent_at = coalesce(first_sent_at, billing_now())
    where org_id = ${orgId} and state in ('charging', 'unknown') and next_attempt_at <= billing_now()
      and (lease_until is null or lease_until <= billing_now())
    returning *`.execute(db);
  return result.rows[0];
}

export interface TopUpRecord {
  readonly state: TopUpRow["state"];
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly retryInMs: number;
  /** No attempt can have been paid so far: the key's memory begins anew. */
  readonly certainlyUnpaid: boolean;
}

/** Records an answer; of an older attempt than the row's, nothing. Returns whether it was recorded. */
export async function recordTopUp(
  tx: DatabaseExecutor,
  topUp: Pick<TopUpRow, "top_up_id" | "attempt_count">,
  record: TopUpRecord,
): Promise<boolean> {
  const result = await sql`
    update top_ups
    set state = ${record.state}, lease_until = null, error_code = ${record.errorCode}, error_message = ${record.errorMessage},
      next_attempt_at = billing_now() + ${record.retryInMs} * interval '1 millisecond',
      first_sent_at = case when ${record.certainlyUnpaid} then null else first_sent_at end,
      finished_at = case when ${record.state} in ('paid', 'declined') then billing_now() end
    where top_up_id = ${topUp.top_up_id} and attempt_count = ${topUp.attempt_count} and state in ('charging', 'unknown')`.execute(tx);
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Puts packs aside that stayed without an answer for longer than the provider remembers keys. Returns how many. */
export async function flagForgottenTopUps(db: DatabaseExecutor, keyMemoryMs: number): Promise<number> {
  const result = await sql`
    update top_ups set state = 'needs_review', lease_until = null
    where state in ('charging', 'unknown') and first_sent_at < billing_now() - ${keyMemoryMs} * interval '1 millisecond'
      and (lease_until is null or lease_until <= billing_now())`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/** What the sink granted at the last reading. */
export async function readGranted(db: DatabaseExecutor, orgId: string): Promise<DecimalText | null> {
  const result = await sql<{
    granted: DecimalText | null;
  }>`select remote_granted_credits as granted from org_gates where org_id = ${orgId}`.execute(db);
  return result.rows[0]?.granted ?? null;
}

/** An org's policy; undefined where it has none. */
export async function readPolicy(db: DatabaseExecutor, orgId: string): Promise<TopUpPolicyRow | undefined> {
  return db.selectFrom("top_up_policies").selectAll().where("org_id", "=", orgId).executeTakeFirst();
}

/** Orgs that have a policy, by id, `limit` at most; without kept accounts, which buy nothing. */
export async function listOrgsWithPolicy(db: DatabaseExecutor, limit: number): Promise<readonly string[]> {
  const rows = await db
    .selectFrom("top_up_policies")
    .innerJoin("org_gates", "org_gates.org_id", "top_up_policies.org_id")
    .select("top_up_policies.org_id")
    .where("org_gates.account_mode", "=", "settled")
    .orderBy("top_up_policies.org_id")
    .limit(limit)
    .execute();
  return rows.map((row) => row.org_id);
}

/** Takes the policy away. False where there was none. */
export async function deletePolicy(tx: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql`delete from top_up_policies where org_id = ${orgId}`.execute(tx);
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Which packs are listed. */
export interface PackFilter {
  readonly orgId?: string | undefined;
  /** Default: every state. */
  readonly states?: readonly TopUpRow["state"][] | undefined;
  readonly limit: number;
}

/** Packs, newest first, at most `limit`. */
export async function readPacks(db: DatabaseExecutor, filter: PackFilter): Promise<readonly TopUpRow[]> {
  let query = db.selectFrom("top_ups").selectAll();
  if (filter.orgId !== undefined) query = query.where("org_id", "=", filter.orgId);
  if (filter.states !== undefined) query = query.where("state", "in", filter.states);
  return query.orderBy("started_at", "desc").orderBy("pack_number", "desc").limit(filter.limit).execute();
}

/** Locks a pack until the transaction ends. Undefined for an unknown id, also for text that is none. */
export async function lockPack(tx: DatabaseExecutor, topUpId: string): Promise<TopUpRow | undefined> {
  const result = await sql<TopUpRow>`select * from top_ups where top_up_id::text = lower(${topUpId}) for update`.execute(tx);
  return result.rows[0];
}

/** Ends a pack that waits for a person. */
export async function writeSettledPack(tx: DatabaseExecutor, topUpId: string, state: "paid" | "declined"): Promise<void> {
  await sql`
    update top_ups set state = ${state}, lease_until = null, finished_at = billing_now(),
      error_code = case when ${state} = 'declined' then 'settled_by_hand' end, error_message = case when ${state} = 'declined' then 'Somebody looked: it was not bought.' end
    where top_up_id = ${topUpId} and state = 'needs_review'`.execute(tx);
}

/**
 * Statements on `key_reservations`: how much of an organization's credits each key of a session may still spend. A worker decides a
 * key's budget, calls the proxy, and records that the proxy has applied it; between these steps the row holds both amounts, and
 * the larger one counts. Amounts are USD of provider cost with at most 6 decimals, which a JSON number carries exactly.
 *
 * Example: session s1, key generation 2: `budget_usd` 2.50 (decided), `applied_usd` 5.00 (the proxy still allows it),
 * `spent_usd` 1.20 (on the ledger). The row reserves 5.00 - 1.20 = 3.80 until the proxy has applied 2.50.
 */
import type { DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, sql } from "kysely";

/**
 * The USD that reservation `r` holds. A key may spend up to the largest budget that the proxy may have for it: the one that we
 * decided, the one that the proxy applied, the one that a worker is sending now, or the one that we hold after we cut it. What
 * the ledger has of the key already is subtracted. Never below zero.
 */
export const RESERVED: RawBuilder<string> = sql`greatest(greatest(r.budget_usd, r.applied_usd, r.telling_usd, r.held_usd) - r.spent_usd, 0)`;

/** What a kept account can pay for, USD: it has no balance that could end. So much that no key's share of it is a limit, and exact in a JSON number. */
const KEPT_AFFORDABLE_USD = "100000000";

/** The USD that the organization of gate `g` and account `a` can pay for. Null while we know no balance or no rate. */
const AFFORDABLE = sql`case a.mode when 'kept' then ${sql.lit(KEPT_AFFORDABLE_USD)}::numeric else
  trunc(greatest(a.balance_credits + case when g.state = 'grace' then g.overdraft_credits else 0 end, 0) / g.credits_per_spend_usd, 6) end`;

/**
 * The ledger has no event of a key before this moment: its reservation, less one day in case somebody set the clock back. The
 * statement therefore reads no older month of the ledger.
 */
const sinceCreated = (table: string): RawBuilder<Date> => sql`${sql.ref(`${table}.created_at`)} - interval '1 day'`;

/**
 * Brings `spent_usd` of new keys up to the ledger: an event may have come before its key was noted. Of older ones ingest moves it
 * with the event. It may be behind the ledger for a moment, never ahead: then too much is reserved.
 */
export async function updateSpentOfNewKeys(db: DatabaseExecutor, newerThanMs: number): Promise<void> {
  await sql`
    update key_reservations r
    set spent_usd = greatest(r.spent_usd, s.spend_usd)
    from (
      select k.session_id, k.key_generation, sum(e.spend_usd) as spend_usd
      from key_reservations k cross join lateral (
        select e.spend_usd from billing_events e where e.session_id = k.session_id and e.key_hash = k.key_hash and e.recorded_at >= ${sinceCreated("k")} offset 0
      ) e
      where k.created_at > billing_now() - ${newerThanMs} * interval '1 millisecond' and k.released_at is null
      group by k.session_id, k.key_generation
    ) s
    where r.session_id = s.session_id and r.key_generation = s.key_generation and r.spent_usd < s.spend_usd`.execute(db);
}

/** Which key of which session holds a reservation. */
interface Reservation {
  readonly sessionId: string;
  readonly keyGeneration: number;
  readonly orgId: string;
}

/**
 * Reserves for a key that is about to be minted and returns its budget; undefined when less is left than the org's
 * `min_credits` are worth. Call it under the org's lock, as a later statement. A repeat answers the same reservation.
 */
export async function insertReservation(
  tx: DatabaseExecutor,
  key: Reservation,
  limitUsd: DecimalText | null,
): Promise<DecimalText | undefined> {
  const result = await sql<{ budget_usd: DecimalText }>`
    with org as (
      select ${AFFORDABLE} - coalesce((select sum(${RESERVED}) from key_reservations r where r.org_id = g.org_id), 0) as unreserved_usd,
        case a.mode when 'kept' then 0 else trunc(g.min_credits / g.credits_per_spend_usd, 6) end as min_usd
      from org_gates g join billing_accounts a using (org_id)
      where g.org_id = ${key.orgId}
    ), share as (
      select least(coalesce(${limitUsd}::numeric, 'Infinity'), greatest(trunc(unreserved_usd / 4, 6), min_usd)) as budget_usd
      from org where unreserved_usd >= min_usd and unreserved_usd > 0
    ), reserved as (
      insert into key_reservations (session_id, key_generation, org_id, budget_usd, applied_usd, limit_usd, created_at)
      select ${key.sessionId}, ${key.keyGeneration}, ${key.orgId}, budget_usd, budget_usd, ${limitUsd}::numeric, billing_now() from share
      on conflict (session_id, key_generation) do update set released_at = null
      returning budget_usd
    )
    select trim_scale(budget_usd) as budget_usd from reserved`.execute(tx);
  return result.rows[0]?.budget_usd;
}

/**
 * Lets the keys of a team's sessions hold what they have reserved of another org: what they use is billed to that one from now on. The
 * next refresh brings them to what it can afford. Call it under the locks of both gates.
 */
export async function moveReservations(
  tx: DatabaseExecutor,
  { teamId, fromOrgId, toOrgId }: { readonly teamId: string; readonly fromOrgId: string; readonly toOrgId: string },
): Promise<void> {
  await sql`
    with moving as materialized (
      select r.session_id, r.key_generation from key_reservations r
      where r.org_id = ${fromOrgId} and exists (select from gateway_sessions s where s.session_id = r.session_id and s.org_id = ${teamId})
      order by r.session_id, r.key_generation for no key update of r
    )
    update key_reservations r set org_id = ${toOrgId} from moving m where r.session_id = m.session_id and r.key_generation = m.key_generation`.execute(
    tx,
  );
}

/** Names the key that was minted for a reservation. */
export async function writeKeyHash(db: DatabaseExecutor, sessionId: string, keyGeneration: number, keyHash: string): Promise<void> {
  await sql`update key_reservations set key_hash = ${keyHash} where session_id = ${sessionId} and key_generation = ${keyGeneration}`.execute(
    db,
  );
}

/** What was spent with the key of `r`, or is being spent, and is not on the ledger: spend rows without an event, requests in flight. */
function unbilledUsd(hasSpendLogs: boolean): RawBuilder<string> {
  const rows = sql`coalesce((select sum(s.spend::text::numeric) from "LiteLLM_SpendLogs" s
    where s.api_key = r.key_hash and s."user" = r.session_id and s.spend not in ('NaN', 'Infinity', '-Infinity')
      and s."startTime" >= (billing_now() - interval '24 hours') at time zone 'UTC'
      and not exists (select 1 from billing_event_keys e where e.idempotency_key = 'llm:' || s.request_id)), 0)`;
  return sql`${hasSpendLogs ? rows : sql`0`} + coalesce((select sum(t.reserved_usd) from request_attempts t where t.key_hash = r.key_hash), 0)`;
}

/**
 * Releases the reservations of a session whose generation is below `belowGeneration` (all where null): what is left in
 * each is what is still under way for its key. `hasSpendLogs` says whether spend rows can be looked at.
 */
export async function releaseReservations(
  db: DatabaseExecutor,
  sessionId: string,
  options: { readonly belowGeneration: number | null; readonly hasSpendLogs: boolean },
): Promise<void> {
  await sql`
    update key_reservations r
    set released_at = billing_now(), applied_usd = 0, limit_usd = 0, held_usd = 0, telling_usd = null, telling_until = null,
      budget_usd = r.spent_usd + least(${RESERVED}, ${unbilledUsd(options.hasSpendLogs)})
    where r.session_id = ${sessionId} and r.released_at is null
      and (${options.belowGeneration}::int is null or r.key_generation < ${options.belowGeneration}::int)`.execute(db);
}

/** Changes the caller's own limit of a key; the next refresh follows it. */
export async function writeLimit(db: DatabaseExecutor, sessionId: string, keyGeneration: number, limitUsd: DecimalText): Promise<void> {
  await sql`
    update key_reservations set limit_usd = ${limitUsd}::numeric
    where session_id = ${sessionId} and key_generation = ${keyGeneration} and released_at is null`.execute(db);
}

/** Takes back a reservation whose key was certainly never made. */
export async function deleteReservation(db: DatabaseExecutor, sessionId: string, keyGeneration: number): Promise<void> {
  await sql`delete from key_reservations where session_id = ${sessionId} and key_generation = ${keyGeneration} and key_hash is null`.execute(
    db,
  );
}

/**
 * Cleans up after crashes and ends: a reservation takes the key that its session recorded; one without a key after
 * `mintTimeoutMs`, and one whose session ended or whose key expired, is over; one that was released `holdMs` ago is forgotten.
 * Those that somebody has locked are left for the next time: whoever locks many at once would else wait in a circle.
 */
export async function reapReservations(
  db: DatabaseExecutor,
  options: { readonly mintTimeoutMs: number; readonly holdMs: number },
): Promise<void> {
  await sql`
    with found as materialized (
      select r.session_id, r.key_generation, s.state, s.key_hash as session_key_hash, s.key_generation as session_generation,
        coalesce(s.state = 'ended' or s.expires_at < billing_now(), false) as is_over,
        r.key_hash is null and r.created_at < billing_now() - ${options.mintTimeoutMs} * interval '1 millisecond' as is_unminted
      -- This looks up one session for each live key. As a join it would read all sessions that there ever were.
      from key_reservations r left join lateral (select * from gateway_sessions s where s.session_id = r.session_id offset 0) s on true
      where r.released_at is null and (r.key_hash is null or s.state = 'ended' or s.expires_at < billing_now())
      for update of r skip locked
    ), adopted as (
      update key_reservations r set key_hash = f.session_key_hash
      from found f
      where f.session_id = r.session_id and f.key_generation = r.key_generation
        and r.key_hash is null and f.session_generation = r.key_generation and f.state = 'active' and not f.is_over
    ), over as (
      update key_reservations r set released_at = billing_now(), applied_usd = 0, limit_usd = 0, held_usd = 0, telling_usd = null, telling_until = null
      from found f
      where f.session_id = r.session_id and f.key_generation = r.key_generation
        and (f.is_over or (f.is_unminted and not (f.session_generation is not distinct from f.key_generation and f.state is not distinct from 'active')))
    ), old as (
      select session_id, key_generation from key_reservations where released_at < billing_now() - ${options.holdMs} * interval '1 millisecond' for update skip locked
    )
    delete from key_reservations r using old where old.session_id = r.session_id and old.key_generation = r.key_generation`.execute(db);
}

/** An organization whose keys may need other budgets than they have. */
interface OrgToRefresh {
  readonly org_id: string;
  /** Stands for all that the decision follows from, as it is now. */
  readonly seen: string;
}

/**
 * Orgs whose live keys may need another budget: their balance, state, settings or a reservation are not what they were at the last
 * refresh, or the proxy does not know of a key yet. One statement over what is live, whatever the number of orgs.
 */
export async function listOrgsToRefresh(db: DatabaseExecutor): Promise<readonly OrgToRefresh[]> {
  const result = await sql<OrgToRefresh>`
    with live as (
      select r.org_id, sum(hashtextextended(r::text, 0)) as reservations,
        bool_or(r.released_at is null and (r.budget_usd <> r.applied_usd or r.blocked <> r.applied_blocked or r.telling_usd is not null)) as is_untold
      from key_reservations r group by r.org_id having bool_or(r.released_at is null)
    ), now as (
      select l.org_id, l.is_untold, l.reservations + hashtextextended(concat_ws('/', a.balance_credits::text, g.state, g.overdraft_credits::text, g.credits_per_spend_usd::text,
          coalesce(g.grace_until <= billing_now(), false)::text), 0) as seen
      from live l cross join lateral (select * from org_gates where org_id = l.org_id offset 0) g
        left join lateral (select * from billing_accounts where org_id = l.org_id offset 0) a on true
    )
    select now.org_id, now.seen from now left join lateral (select * from key_budget_marks where org_id = now.org_id offset 0) m on true
    where now.is_untold or m.seen is distinct from now.seen
    order by now.org_id`.execute(db);
  return result.rows;
}

/** Notes what a refresh saw of an org before it decided. */
export async function writeSeen(db: DatabaseExecutor, org: OrgToRefresh): Promise<void> {
  await sql`
    insert into key_budget_marks (org_id, seen) values (${org.org_id}, ${org.seen}::numeric)
    on conflict (org_id) do update set seen = excluded.seen`.execute(db);
}

/** Locks the org's reservations until the transaction ends, in the order in which ingest does. */
export async function lockReservations(tx: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`select from key_reservations where org_id = ${orgId} order by session_id, key_generation for no key update`.execute(tx);
}

/**
 * Decides what each live key of an org may spend: its share of what is affordable, its own limit at most. Raises take only
 * what nobody has reserved; changes below a tenth of the share are not worth a call unless too much is reserved; where the limit is less
 * than the share, the budget is the limit. In
 * exhausted and suspended orgs keys are to be blocked, and their budgets stay. Call it under the org's lock.
 */
export async function decideBudgets(tx: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`
    with org as (
      select g.org_id, g.state in ('exhausted', 'suspended') as is_blocked, ${AFFORDABLE} as affordable_usd
      from org_gates g join billing_accounts a using (org_id)
      where g.org_id = ${orgId}
    ), keys as (
      select r.*, ${RESERVED} as reserved_usd, coalesce(r.limit_usd, 'Infinity') as most_usd from key_reservations r where r.org_id = ${orgId}
    ), held as (
      select coalesce(sum(reserved_usd), 0) as total_usd, coalesce(sum(reserved_usd) filter (where released_at is not null), 0) as released_usd,
        count(*) filter (where released_at is null) as live
      from keys
    ), wanted as (
      select k.session_id, k.key_generation, k.spent_usd, k.reserved_usd, k.most_usd, k.budget_usd,
        trunc(greatest(o.affordable_usd - h.released_usd, 0) / (h.live + 1), 6) as share_usd
      from keys k, org o, held h
      where k.released_at is null
    ), targets as (
      select t.*, case when t.target_usd < t.share_usd then 0 else t.share_usd / 10 end as negligible_usd
      from (select w.*, least(w.share_usd, greatest(w.most_usd - w.spent_usd, 0)) as target_usd from wanted w) t
    ), room as (
      select greatest(o.affordable_usd - h.total_usd, 0) / nullif(sum(greatest(t.target_usd - t.reserved_usd, 0)), 0) as ratio
      from targets t, org o, held h group by o.affordable_usd, h.total_usd
    ), decided as (
      select t.session_id, t.key_generation, o.is_blocked,
        case
          when o.is_blocked or o.affordable_usd is null then t.budget_usd
          when t.target_usd > t.reserved_usd + t.negligible_usd then trunc(t.spent_usd + t.reserved_usd + (t.target_usd - t.reserved_usd) * least(room.ratio, 1), 6)
          when t.target_usd < t.reserved_usd - t.negligible_usd or h.total_usd > o.affordable_usd then least(trunc(t.spent_usd + t.target_usd, 6), t.budget_usd)
          else t.budget_usd
        end as budget_usd
      from targets t, org o, held h, room
    )
    update key_reservations r set budget_usd = d.budget_usd, blocked = d.is_blocked
    from decided d
    where r.session_id = d.session_id and r.key_generation = d.key_generation
      and (r.budget_usd <> d.budget_usd or r.blocked <> d.is_blocked)`.execute(tx);
}

/** A key whose budget or block is to be told to the proxy, claimed by one worker. */
export interface ClaimedKey {
  readonly session_id: string;
  readonly key_generation: number;
  readonly key_hash: string;
  readonly budget_usd: DecimalText;
  readonly blocked: boolean;
  readonly budget_differs: boolean;
  readonly blocked_differs: boolean;
  readonly telling_token: number;
}

/**
 * Claims the next key of an org of which the proxy does not know what was decided, or may not know it, for `leaseMs`: until
 * then nobody else tells it anything, and what is told counts as in force. Blocks and cuts first; keys of `exceptKeyHashes`
 * are left out. Undefined when there is none.
 */
export async function claimUntoldKey(
  db: DatabaseExecutor,
  orgId: string,
  options: { readonly leaseMs: number; readonly exceptKeyHashes: readonly string[] },
): Promise<ClaimedKey | undefined> {
  const result = await sql<ClaimedKey>`
    with next as (
      select r.session_id, r.key_generation, r.telling_usd is not null as is_unsure from key_reservations r
      where r.org_id = ${orgId} and r.released_at is null and r.key_hash <> all(${options.exceptKeyHashes as string[]}::text[])
        and (r.budget_usd <> r.applied_usd or r.blocked <> r.applied_blocked or r.telling_usd is not null)
        and (r.telling_until is null or r.telling_until <= billing_now())
      order by not r.blocked, r.budget_usd - r.applied_usd, r.session_id, r.key_generation
      limit 1
      for update skip locked
    )
    update key_reservations r
    set telling_usd = greatest(r.budget_usd, r.telling_usd), telling_until = billing_now() + ${options.leaseMs} * interval '1 millisecond', telling_token = r.telling_token + 1
    from next n
    where r.session_id = n.session_id and r.key_generation = n.key_generation
    returning r.session_id, r.key_generation, r.key_hash, trim_scale(r.budget_usd) as budget_usd, r.blocked, r.telling_token,
      r.budget_usd <> r.applied_usd or n.is_unsure as budget_differs, r.blocked <> r.applied_blocked or n.is_unsure as blocked_differs`.execute(
    db,
  );
  return result.rows[0];
}

/**
 * Notes what the proxy was told, and gives the claim back. What the key could spend until now stays held: it may have. If the claim was lost meanwhile, nobody knows who told the proxy
 * last: the key counts as untold, at the larger figure, and whoever holds the claim now learns the same.
 */
export async function writeTold(db: DatabaseExecutor, key: ClaimedKey): Promise<void> {
  await sql`
    update key_reservations r
    set applied_usd = case when r.telling_token = ${key.telling_token} then ${key.budget_usd}::numeric else r.applied_usd end,
      applied_blocked = case when r.telling_token = ${key.telling_token} then ${key.blocked}::boolean else r.applied_blocked end,
      held_usd = greatest(r.held_usd, r.applied_usd, r.telling_usd),
      telling_usd = case when r.telling_token = ${key.telling_token} then null else greatest(r.telling_usd, ${key.budget_usd}::numeric) end,
      telling_until = case when r.telling_token = ${key.telling_token} then null else r.telling_until end,
      telling_token = case when r.telling_token = ${key.telling_token} then r.telling_token else r.telling_token + 1 end
    where r.session_id = ${key.session_id} and r.key_generation = ${key.key_generation} and r.released_at is null`.execute(db);
}

/**
 * Lets go of what keys certainly did not spend before their budgets were cut: what is held becomes what the ledger has, what
 * it does not have yet, and what is in flight. Of all orgs at once. Idempotent.
 */
export async function releaseHeld(db: DatabaseExecutor, options: { readonly hasSpendLogs: boolean }): Promise<void> {
  const unbilled = options.hasSpendLogs
    ? sql`select s.api_key as key_hash, s."user" as session_id, s.spend::text::numeric as usd from cut c join "LiteLLM_SpendLogs" s on s."user" = c.session_id and s.api_key = c.key_hash
        where s.spend not in ('NaN', 'Infinity', '-Infinity') and s."startTime" >= (billing_now() - interval '24 hours') at time zone 'UTC'
          and not exists (select from billing_event_keys e where e.idempotency_key = 'llm:' || s.request_id)
        union all`
    : sql``;
  await sql`
    with cut as materialized (
      select r.session_id, r.key_hash, r.created_at from key_reservations r
      where r.released_at is null and r.telling_usd is null and r.budget_usd = r.applied_usd and r.held_usd > greatest(r.applied_usd, r.spent_usd)
      for no key update of r skip locked
    ), used as (
      ${unbilled}
      select t.key_hash, c.session_id, t.reserved_usd as usd from request_attempts t join cut c using (key_hash)
      union all select c.key_hash, c.session_id, e.spend_usd from cut c cross join lateral (
        select e.spend_usd from billing_events e where e.session_id = c.session_id and e.key_hash = c.key_hash and e.recorded_at >= ${sinceCreated("c")} offset 0
      ) e
    ), sums as (
      select c.session_id, c.key_hash, coalesce(sum(u.usd), 0) as used_usd from cut c left join used u using (session_id, key_hash) group by c.session_id, c.key_hash
    )
    update key_reservations r set held_usd = least(r.held_usd, s.used_usd)
    from sums s
    where r.session_id = s.session_id and r.key_hash = s.key_hash and r.released_at is null and r.telling_usd is null and r.budget_usd = r.applied_usd`.execute(
    db,
  );
}

/** Gives a claim back whose end is not known: the key stays untold, at the larger figure, and is due at once. */
export async function releaseTelling(db: DatabaseExecutor, key: ClaimedKey): Promise<void> {
  await sql`
    update key_reservations r set telling_until = null
    where r.session_id = ${key.session_id} and r.key_generation = ${key.key_generation} and r.telling_token = ${key.telling_token}`.execute(
    db,
  );
}

/** What an organization can afford, and what of it is reserved, in USD; `affordable_usd` is null while balance or rate are unknown. */
interface OrgReservations {
  readonly affordable_usd: DecimalText | null;
  readonly reserved_usd: DecimalText;
  readonly live_sessions: number;
}

/** What an org can afford, and what its keys have reserved of it. */
export async function readReservations(db: DatabaseExecutor, orgId: string): Promise<OrgReservations | undefined> {
  const result = await sql<OrgReservations>`
    select trim_scale(${AFFORDABLE}) as affordable_usd,
      trim_scale(coalesce((select sum(${RESERVED}) from key_reservations r where r.org_id = g.org_id), 0)) as reserved_usd,
      (select count(distinct r.session_id)::int from key_reservations r where r.org_id = g.org_id and r.released_at is null) as live_sessions
    from org_gates g join billing_accounts a using (org_id) where g.org_id = ${orgId}`.execute(db);
  return result.rows[0];
}

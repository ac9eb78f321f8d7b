/** Statements on the state and the settings of orgs. Locks are taken in the order org_gates, billing_accounts. */
import type { AccountMode, DatabaseExecutor, OrgGateTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, type Selectable, sql } from "kysely";

/** Gives an org its account and its gate, `unconfigured`. Idempotent. */
export async function ensureOrg(db: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`
    with account as (insert into billing_accounts (org_id) values (${orgId}) on conflict do nothing)
    insert into org_gates (org_id) values (${orgId}) on conflict do nothing`.execute(db);
}

/**
 * Gives a gate to each org that has spent and has none, and its account a copy of the gate where it lacks one. Returns how many gates it
 * made. Idempotent.
 */
export async function ensureGatesOfSpenders(db: DatabaseExecutor): Promise<number> {
  const result = await sql<{ is_new: boolean }>`
    insert into org_gates as g (org_id)
    select a.org_id from billing_accounts a where a.gate_state is null order by a.org_id
    -- The trigger of the gate's state copies it.
    on conflict (org_id) do update set state = g.state
    returning xmax = 0 as is_new`.execute(db);
  return result.rows.filter((row) => row.is_new).length;
}

/** True when the org ever spent, started a session, or the gate was asked about it. */
export async function isKnownOrg(db: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql`
    select 1 from billing_accounts where org_id = ${orgId}
    union all select 1 from org_gates where org_id = ${orgId}
    union all select 1 from gateway_sessions where org_id = ${orgId}
    limit 1`.execute(db);
  return result.rows.length > 0;
}

/** An org's gate with its balance, read under the lock; times are judged by the billing clock. */
export type OrgGateRow = Selectable<OrgGateTable> & {
  readonly balance_credits: DecimalText | null;
  readonly grace_is_over: boolean;
  readonly is_low: boolean;
  /** The account's; `account_mode` is its copy. */
  readonly mode: AccountMode;
};

/** Locks the gate until the transaction ends. Undefined for an org that was never seen. */
export async function lockGate(tx: DatabaseExecutor, orgId: string): Promise<boolean> {
  const result = await sql`select 1 from org_gates where org_id = ${orgId} for update`.execute(tx);
  return result.rows.length > 0;
}

/** Reads the gate. Call it as a later statement than {@link lockGate}: only then does it see what the lock waited for. */
export async function readGate(db: DatabaseExecutor, orgId: string): Promise<OrgGateRow | undefined> {
  const result = await sql<OrgGateRow>`
    select g.*, a.balance_credits, coalesce(g.grace_until <= billing_now(), true) as grace_is_over,
      coalesce(a.balance_credits < g.low_balance_credits, false) as is_low, coalesce(a.mode, 'settled') as mode
    from org_gates g left join billing_accounts a using (org_id)
    where g.org_id = ${orgId}`.execute(db);
  return result.rows[0];
}

/** Puts an org into a state; entering grace sets its end. */
export async function writeState(
  tx: DatabaseExecutor,
  change: {
    readonly orgId: string;
    readonly state: OrgGateRow["state"];
    readonly exhaustedBy: OrgGateRow["exhausted_by"];
    readonly suspendedReason?: string;
  },
): Promise<void> {
  await sql`
    update org_gates
    set state = ${change.state}, state_since = billing_now(), exhausted_by = ${change.exhaustedBy}, suspended_reason = ${change.suspendedReason ?? null},
      grace_until = case when ${change.state} = 'grace' then billing_now() + grace_ms * interval '1 millisecond' end
    where org_id = ${change.orgId}`.execute(tx);
}

/** Notes whether the warning of a low balance went out, so that it goes out once until the balance has risen. */
export async function writeLowBalanceTold(tx: DatabaseExecutor, orgId: string, told: boolean): Promise<void> {
  await sql`update org_gates set low_balance_told = ${told} where org_id = ${orgId}`.execute(tx);
}

/** Live sessions of an org other than `exceptSessionId`. */
export async function countLiveSessions(db: DatabaseExecutor, orgId: string, exceptSessionId: string | null): Promise<number> {
  const result = await sql<{ sessions: number }>`
    select count(distinct session_id)::int as sessions from key_reservations
    where org_id = ${orgId} and released_at is null and session_id is distinct from ${exceptSessionId}`.execute(db);
  return result.rows[0]?.sessions ?? 0;
}

/** Whether the session is among the live ones of its org. */
export async function holdsPlace(db: DatabaseExecutor, orgId: string, sessionId: string): Promise<boolean> {
  const result = await sql`
    select 1 from key_reservations where org_id = ${orgId} and session_id = ${sessionId} and released_at is null limit 1`.execute(db);
  return result.rows.length > 0;
}

/** What may be set for an org; what is absent stays. */
export interface OrgSettings {
  /** What becomes of what it uses from now on; {@link writeMode}. */
  readonly mode?: AccountMode;
  /** `trial` is exhausted as soon as its credits are, `paid` has its grace before. Refused where Autumn knows a subscription. */
  readonly plan?: "paid" | "trial";
  /** For so long work that runs may end when the credits ran out; an hour at most. */
  readonly graceMs?: number;
  /** So many credits below zero end that time at once. */
  readonly overdraftCredits?: DecimalText;
  /** So many credits it needs to begin something. */
  readonly minCredits?: DecimalText;
  /** Null: no limit. */
  readonly maxSessions?: number | null;
  /** Below so many credits it is told that its balance is low. */
  readonly lowBalanceCredits?: DecimalText;
}

/** Changes the settings that are given and leaves the others. Idempotent. */
export async function writeSettings(db: DatabaseExecutor, orgId: string, settings: OrgSettings): Promise<void> {
  const columns = {
    ...(settings.plan !== undefined && { plan: settings.plan }),
    ...(settings.graceMs !== undefined && { grace_ms: settings.graceMs }),
    ...(settings.overdraftCredits !== undefined && { overdraft_credits: settings.overdraftCredits }),
    ...(settings.minCredits !== undefined && { min_credits: settings.minCredits }),
    ...(settings.maxSessions !== undefined && { max_sessions: settings.maxSessions }),
    ...(settings.lowBalanceCredits !== undefined && { low_balance_credits: settings.lowBalanceCredits }),
  };
  if (Object.keys(columns).length > 0) await db.updateTable("org_gates").set(columns).where("org_id", "=", orgId).execute();
}

/** Locks an org's policy of buying packs until the transaction ends: no pack is planned meanwhile. Before the gate's lock, as who plans a pack takes them. */
export async function lockPurchases(tx: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`select 1 from top_up_policies where org_id = ${orgId} for update`.execute(tx);
}

/** Locks the org's account until the transaction ends: nobody writes events of it, or seals them. */
export async function lockAccount(tx: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`select 1 from billing_accounts where org_id = ${orgId} for update`.execute(tx);
}

/** What of an org is not settled yet, in one number each: an account that is to be kept has none of them. */
export interface UnsettledCounts {
  readonly open_events: number;
  /** Neither delivered nor found short. */
  readonly batches: number;
  /** Delivered on the word of a refused duplicate. */
  readonly unconfirmed_batches: number;
  /** Differences from the sink's record that are open, and corrections of it that are under way. */
  readonly differences: number;
  /** Under way, or waiting for a person. */
  readonly packs: number;
}

/** Counts them. Call it after {@link lockAccount}, as a later statement. */
export async function countUnsettledOf(tx: DatabaseExecutor, orgId: string): Promise<UnsettledCounts> {
  const result = await sql<UnsettledCounts>`
    select (select open_event_count from billing_accounts where org_id = ${orgId}) as open_events,
      (select count(*)::int from settlement_batches where org_id = ${orgId} and state <> 'delivered' and state <> 'shortfall') as batches,
      (select count(*)::int from settlement_batches where org_id = ${orgId} and state = 'delivered' and deducted_credits is null) as unconfirmed_batches,
      (select count(*)::int from delivery_findings where org_id = ${orgId} and resolved_at is null)
        + (select count(*)::int from settlement_corrections where org_id = ${orgId} and finished_at is null) as differences,
      (select count(*)::int from top_ups where org_id = ${orgId} and state in ('charging', 'unknown', 'needs_review')) as packs`.execute(
    tx,
  );
  const row = result.rows[0];
  if (row === undefined) throw new Error("a statement without a table has one row");
  return row;
}

/**
 * Changes what becomes of what the org uses, in the account and its copy in the gate. A kept account has no balance and no reading of one.
 * Call it under the locks of gate and account, and to `kept` only where {@link countUnsettledOf} counts nothing.
 */
export async function writeMode(tx: DatabaseExecutor, orgId: string, mode: AccountMode): Promise<void> {
  await sql`
    with account as (
      update billing_accounts set mode = ${mode}, balance_credits = null where org_id = ${orgId}
    ), calm as (
      delete from settlement_org_backoff where org_id = ${orgId}
    )
    update org_gates
    set account_mode = ${mode}, state = case state when 'suspended' then state else 'unconfigured' end, state_since = billing_now(), exhausted_by = null, grace_until = null,
      low_balance_told = false, remote_granted_credits = null, remote_forgiven_credits = 0, remote_next_reset_at = null, remote_plan_id = null, remote_trial_ends_at = null,
      reconciled_at = null, reconcile_wanted_at = null, reconcile_retry_at = null, reconcile_problem = null
    where org_id = ${orgId}`.execute(tx);
}

/**
 * Whether a gate is that of an account, or of a row whose org comes from one. Ids of accounts are compared by their bytes and those of gates are not, so the
 * index of gates serves only where it is said which; without it each look-up reads all gates.
 */
export function isGateOf(account: string): RawBuilder<boolean> {
  return sql`org_id = ${sql.ref(`${account}.org_id`)} collate "default"`;
}

/**
 * Gates `g` and accounts `a` of the orgs of which `isFound` holds, said of the account and its copy of the gate alone, as a partial index
 * says it; and of those whose account has no copy yet. One look-up for each of these few, whatever the number of orgs.
 */
const joinGates = (isFound: RawBuilder<boolean>): RawBuilder<unknown> => sql`
    select g.org_id from (
      select a.org_id from billing_accounts a where ${isFound}
      union select a.org_id from billing_accounts a where a.gate_state is null
    ) found
    cross join lateral (select * from org_gates where ${isGateOf("found")} offset 0) g
    cross join lateral (select * from billing_accounts where org_id = found.org_id offset 0) a`;

/** Orgs whose state may have to move: what the balance calls for is not what the row says, or a grace is over. */
export async function listOrgsToMove(db: DatabaseExecutor): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`
    ${joinGates(sql`may_gate_move(a.balance_credits, a.gate_state, a.gate_plan, a.gate_low_credits, a.gate_low_told, a.gate_overdraft_credits)`)}
    where a.balance_credits is not null and (
      g.low_balance_told <> (a.balance_credits < g.low_balance_credits)
      or g.state <> 'suspended' and case
        when a.balance_credits > 0 then g.state <> case g.plan when 'trial' then 'trial' else 'active' end
        when g.state = 'grace' then g.grace_until <= billing_now() or a.balance_credits <= -g.overdraft_credits
        else g.state <> 'exhausted'
      end)
    order by g.org_id`.execute(db);
  return result.rows.map((row) => row.org_id);
}

/** Orgs whose balance is known and below their low threshold: their usage is settled sooner. */
export async function listOrgsNearZero(db: DatabaseExecutor): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`
    ${joinGates(sql`a.balance_credits < a.gate_low_credits`)}
    where a.balance_credits < g.low_balance_credits
    order by g.org_id`.execute(db);
  return result.rows.map((row) => row.org_id);
}

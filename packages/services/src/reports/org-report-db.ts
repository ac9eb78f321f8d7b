/** Statements behind what an operator sees of organizations. Read only. */
import type { AccountMode, DatabaseExecutor, DeliveryFindingTable, OrgState, SpendReviewReason } from "@proliferate/db";
import { payerOf } from "@proliferate/access/principals";
import { type Selectable, sql } from "kysely";
import { RESERVED } from "../key-budgets/index.ts";

export interface OrgRow {
  readonly org_id: string;
  readonly state: OrgState;
  readonly state_since: Date | null;
  readonly exhausted_by: string | null;
  readonly grace_until: Date | null;
  readonly suspended_reason: string | null;
  readonly balance_credits: string | null;
  readonly unposted_credits: string;
  readonly open_credits: string;
  readonly carry_credits: string;
  readonly moving_credits: string;
  readonly parked_credits: string;
  readonly dead_credits: string;
  readonly unapplied_credits: string;
  readonly shortfall_credits: string;
  readonly mode: AccountMode;
  readonly kept_credits: string;
  /** Who pays for it; itself where nobody else does. */
  readonly payer_id: string;
  readonly drift_credits: string | null;
  readonly drift_cause: string | null;
  readonly drift_severity: string | null;
  readonly drift_at: Date | null;
  readonly reconciled_at: Date | null;
  readonly reconcile_problem: string | null;
  readonly live_sessions: number;
}

/**
 * Organizations that billing knows, by id after `afterOrgId`, at most `limit`; of one state where it is given. With `orgId` that
 * one alone, also where it only has sessions. Each costs a few index look-ups, whatever the length of its history.
 */
export async function readOrgs(
  db: DatabaseExecutor,
  options: {
    readonly orgId?: string | undefined;
    readonly afterOrgId?: string | undefined;
    readonly state?: OrgState | undefined;
    readonly limit: number;
  },
): Promise<readonly OrgRow[]> {
  const result = await sql<OrgRow>`
    with page as materialized (
      select o.org_id, coalesce(g.state, 'unconfigured') as state, g.state_since, g.exhausted_by, g.grace_until, g.suspended_reason, g.reconciled_at, g.reconcile_problem,
        trim_scale(a.balance_credits) as balance_credits, coalesce(a.carry_credits, 0) as carry, coalesce(a.open_credits, 0) as open,
        coalesce(a.mode, 'settled') as mode, trim_scale(coalesce(a.kept_credits, 0)) as kept_credits, ${payerOf(sql`o.org_id`)} as payer_id
      from (
        select org_id from org_gates union select org_id from billing_accounts union select org_id from gateway_sessions where org_id = ${options.orgId ?? null}
      ) o left join org_gates g using (org_id) left join billing_accounts a using (org_id)
      where o.org_id > ${options.afterOrgId ?? ""}
        and (${options.orgId ?? null}::text is null or o.org_id = ${options.orgId ?? null}::text)
        and (${options.state ?? null}::text is null or coalesce(g.state, 'unconfigured') = ${options.state ?? null}::text)
      order by o.org_id
      limit ${options.limit}
    )
    select p.*, trim_scale(coalesce(u.certain_credits + u.uncertain_credits, 0)) as unposted_credits,
      trim_scale(p.open) as open_credits, trim_scale(p.carry) as carry_credits,
      trim_scale(b.moving) as moving_credits, trim_scale(b.parked) as parked_credits, trim_scale(b.dead) as dead_credits,
      trim_scale(b.unapplied) as unapplied_credits, trim_scale(b.shortfall) as shortfall_credits,
      trim_scale(d.drift_credits) as drift_credits, d.cause as drift_cause, d.severity as drift_severity, d.reconciled_at as drift_at,
      (select count(*)::int from gateway_sessions s where s.org_id = p.org_id and s.state <> 'ended') as live_sessions
    from page p
    left join billing_unposted u using (org_id)
    cross join lateral (
      select coalesce(sum(s.credits) filter (where s.state in ('sealed', 'sending', 'unknown')), 0) as moving,
        coalesce(sum(s.credits) filter (where s.state = 'parked'), 0) as parked,
        coalesce(sum(s.credits) filter (where s.state = 'dead'), 0) as dead,
        coalesce(sum(s.credits - coalesce(s.deducted_credits, 0)) filter (where s.state = 'unapplied'), 0) as unapplied,
        coalesce(sum(s.credits - coalesce(s.deducted_credits, 0)) filter (where s.state = 'shortfall'), 0) as shortfall
      from settlement_batches s where s.org_id = p.org_id and s.state <> 'delivered'
    ) b
    left join lateral (
      select r.drift_credits, r.cause, r.severity, r.reconciled_at from balance_reconciliations r
      where r.org_id = p.org_id and r.drift_credits <> 0 order by r.reconciliation_id desc limit 1
    ) d on true
    order by p.org_id`.execute(db);
  return result.rows;
}

export interface OrgKeysRow {
  readonly live_keys: number;
  readonly blocked_keys: number;
  /** What the live keys may still spend, and what ended ones still hold. */
  readonly reserved_usd: string;
}

/** What is reserved in the org's keys, under the billing gate. */
export async function readOrgKeys(db: DatabaseExecutor, orgId: string): Promise<OrgKeysRow> {
  const result = await sql<OrgKeysRow>`
    select count(*) filter (where released_at is null)::int as live_keys, count(*) filter (where released_at is null and blocked)::int as blocked_keys,
      trim_scale(coalesce(sum(${RESERVED}), 0)) as reserved_usd
    from key_reservations r where org_id = ${orgId}`.execute(db);
  return result.rows[0] ?? { live_keys: 0, blocked_keys: 0, reserved_usd: "0" };
}

/** Open differences between our books and the sink's, oldest first. */
export async function readOrgFindings(db: DatabaseExecutor, orgId: string): Promise<readonly Selectable<DeliveryFindingTable>[]> {
  return db
    .selectFrom("delivery_findings")
    .selectAll()
    .where("org_id", "=", orgId)
    .where("resolved_at", "is", null)
    .orderBy("first_seen_at")
    .execute();
}

/** Open reviews of the org's spend rows, by reason. Rows without an owner are nobody's, and not among them. */
export async function readOrgReviews(
  db: DatabaseExecutor,
  orgId: string,
): Promise<readonly { readonly reason: SpendReviewReason; readonly rows: number }[]> {
  const result = await sql<{ reason: SpendReviewReason; rows: number }>`
    select reason, count(*)::int as rows from spend_reviews where org_id = ${orgId} and resolved_at is null group by reason order by reason`.execute(
    db,
  );
  return result.rows;
}

/** The statement by which a worker takes batches that are due: which orgs have any, and whose turn it is. */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import { type OrgSelection, remembersKey } from "./settlement-db.ts";

export interface ClaimedBatch {
  readonly batchId: string;
  readonly orgId: string;
  readonly idempotencyKey: string;
  readonly credits: string;
  readonly eventCount: number;
  readonly leaseToken: number;
  readonly attemptCount: number;
  /** True when an earlier attempt may have been applied: a refused duplicate then means delivered. */
  readonly mayBeApplied: boolean;
  /** True when the org's attempt before this one failed: another failure says something of the org, and nothing of the sink. */
  readonly isOrgFailing: boolean;
}

interface ClaimOptions extends OrgSelection {
  /** Batches in one claim. */
  readonly limit: number;
  /** Batches of one org; its others are claimed when these are done. */
  readonly limitPerOrg: number;
  /** How long nobody else may claim them. */
  readonly leaseMs: number;
  /** Where the last claim stopped: orgs that come after this one are looked at first. Default: from the first. */
  readonly afterOrgId?: string | undefined;
  /** Orgs that are left out. */
  readonly exceptOrgIds: readonly string[];
  /** A batch that was first sent longer ago is left out: the sink may have forgotten its key. */
  readonly keyMemoryMs: number;
}

/** A batch that goes to the sink by itself, word for word as the index `settlement_batches_moving` has it. */
const IS_MOVING = (batch: string): RawBuilder<boolean> => {
  const [state, needsReconcile] = [sql.ref(`${batch}.state`), sql.ref(`${batch}.needs_reconcile`)];
  return sql`${state} in ('sealed', 'sending', 'unknown', 'parked') and not ${needsReconcile}`;
};

const firstMovingOrg = (condition: RawBuilder<boolean>): RawBuilder<unknown> =>
  sql`(select b.org_id from settlement_batches b where ${IS_MOVING("b")} and ${condition} order by b.org_id limit 1)`;

/**
 * Orgs with such batches, one after the other: those after `afterOrgId`, then those before it. Each costs one look into an index,
 * whatever its backlog, and whoever takes only the first of them pays only for these.
 */
function orgsWithMovingBatches(options: ClaimOptions): RawBuilder<unknown> {
  if (options.orgIds !== undefined) return sql`select org_id from unnest(${options.orgIds as string[]}::text[]) org_id`;
  const start = options.afterOrgId ?? "";
  const [after, before] = [sql<boolean>`b.org_id > ${start} collate "C"`, sql<boolean>`b.org_id <= ${start} collate "C"`];
  return sql`
      select found.org_id, found.is_after from (
        select ${firstMovingOrg(after)} as org_id, true as is_after
      ) found
      union all
      select case when w.org_id is null then ${firstMovingOrg(before)}
          when w.is_after then ${firstMovingOrg(sql`b.org_id > w.org_id`)} else ${firstMovingOrg(sql`b.org_id > w.org_id and ${before}`)} end,
        w.is_after and w.org_id is not null
      from walk w where w.org_id is not null or w.is_after`;
}

/**
 * Claims due batches for `leaseMs`, one batch of each org before the second of any, so that no org waits behind another's
 * backlog. Orgs that wait after a failure, and orgs of which a batch is being sent, are left out; so an org's batches go one
 * after the other, and an org that fails costs one attempt. A batch whose claimer died is due again when its lease ends.
 * Claims of two workers never meet.
 */
export async function claimDueBatches(db: DatabaseExecutor, options: ClaimOptions): Promise<readonly ClaimedBatch[]> {
  const due = sql`${IS_MOVING("b")}
    and b.next_attempt_at <= (select now from clock) and (b.lease_until is null or b.lease_until <= (select now from clock))
    and ${remembersKey(options.keyMemoryMs)}`;
  const result = await sql<{
    batch_id: string;
    org_id: string;
    idempotency_key: string;
    redrive_count: number;
    credits: string;
    event_count: number;
    lease_token: number;
    attempt_count: number;
    may_be_applied: boolean;
    is_org_failing: boolean;
  }>`
    with recursive clock as materialized (select billing_now() as now), walk as (
      ${orgsWithMovingBatches(options)}
    ), orgs as materialized (
      select w.org_id from walk w
      where w.org_id is not null and w.org_id <> all(${options.exceptOrgIds as string[]}::text[])
        -- These questions are asked for each org by itself. Written as joins, they would read all orgs to find the first one.
        and (select 1 from settlement_org_backoff o where o.org_id = w.org_id and o.retry_at > (select now from clock) limit 1) is null
        and (select 1 from settlement_batches s where s.org_id = w.org_id and s.state = 'sending' and ${IS_MOVING("s")} and s.lease_until > (select now from clock) limit 1) is null
        and (select 1 from settlement_batches b where b.org_id = w.org_id and ${due} limit 1) is not null
      limit ${options.limit}
    ), turns as materialized (
      select b.batch_id, b.turn from orgs o cross join lateral (
        select b.batch_id, row_number() over (order by b.sequence) as turn from settlement_batches b
        where b.org_id = o.org_id and ${due} order by b.sequence limit ${options.limitPerOrg}
      ) b
      order by b.turn, o.org_id limit ${options.limit}
    ), claimed as (
      select b.batch_id from settlement_batches b join turns t using (batch_id)
      where ${due}
      order by t.turn, b.next_attempt_at, b.batch_id
      limit ${options.limit}
      for update of b skip locked
    )
    update settlement_batches b
    set state = 'sending', lease_token = b.lease_token + 1, lease_until = (select now from clock) + ${options.leaseMs} * interval '1 millisecond'
    from claimed where b.batch_id = claimed.batch_id
    returning b.batch_id, b.org_id, b.idempotency_key, b.redrive_count, trim_scale(b.credits) as credits, b.event_count, b.lease_token, b.attempt_count,
      b.first_sent_at is not null as may_be_applied, exists (select 1 from settlement_org_backoff o where o.org_id = b.org_id) as is_org_failing`.execute(
    db,
  );
  return result.rows.map((row) => ({
    batchId: row.batch_id,
    orgId: row.org_id,
    idempotencyKey: row.redrive_count === 0 ? row.idempotency_key : `${row.idempotency_key}.${row.redrive_count}`,
    credits: row.credits,
    eventCount: row.event_count,
    leaseToken: row.lease_token,
    attemptCount: row.attempt_count,
    mayBeApplied: row.may_be_applied,
    isOrgFailing: row.is_org_failing,
  }));
}

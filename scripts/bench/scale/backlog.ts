import type pg from "pg";

/** What a sink that is away for some hours leaves behind. */
export const BACKLOG_BATCHES = 100_000;

/** Statements that look at what is under way: their cost must not follow how much that is. */
export const FOLLOWS_BACKLOG: readonly string[] = [
  "flagForgottenKeys",
  "claimDueBatches",
  "listComparableOrgs: open ones",
  "readOpenEvents",
  "readBatchStates",
  "readDelivery",
  "readAttention",
  "beginAttempt, finishAttempt, recordOutcome",
];

/** Makes the newest batches of a filled database due again, {@link BACKLOG_BATCHES} of them; their counts with them. */
export async function makeBacklog(client: pg.Client): Promise<void> {
  await client.query(`set session_replication_role = replica;
    update settlement_batches set state = 'sealed', delivered_at = null, deducted_credits = null, first_sent_at = null, next_attempt_at = now() - interval '10 minutes'
    where batch_id in (select batch_id from settlement_batches where state = 'delivered' order by sequence desc limit ${BACKLOG_BATCHES});
    ${COUNTS}
    reset session_replication_role`);
  await client.query("vacuum (analyze) settlement_batches");
}

/** What triggers count of batches, made anew: filling goes around them. */
export const COUNTS = `delete from settled_batch_days;
    insert into settled_batch_days select (sealed_at at time zone 'UTC')::date, state, count(*), sum(credits), max(delivered_at) from settlement_batches where state = 'delivered' group by 1, 2;
    delete from kept_counts;
    insert into kept_counts (subject, state, needs_reconcile, count, credits, unposted_credits)
    select 'batches', state, needs_reconcile, count(*), sum(credits), sum(credits - coalesce(deducted_credits, 0)) from settlement_batches where state not in ('delivered', 'shortfall') group by 1, 2, 3;
    insert into kept_counts (subject, state, count) select 'gates', state, count(*) from org_gates group by state;`;

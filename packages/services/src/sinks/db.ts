/** Statements of sinks: what they call an org, and what a shadow answered. */
import type { DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { sql } from "kysely";

/** What the sink calls the org; undefined where nobody said. */
export async function findSinkCustomer(db: DatabaseExecutor, sink: string, orgId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom("sink_customers")
    .select("customer_id")
    .where("sink", "=", sink)
    .where("org_id", "=", orgId)
    .executeTakeFirst();
  return row?.customer_id;
}

/** Says what the sink calls the org. Idempotent; a customer belongs to one org, and the database refuses a second (unique_violation, 23505). */
export async function mapSinkCustomer(
  db: DatabaseExecutor,
  customer: { readonly sink: string; readonly orgId: string; readonly customerId: string },
): Promise<void> {
  await sql`
    insert into sink_customers (sink, org_id, customer_id) values (${customer.sink}, ${customer.orgId}, ${customer.customerId})
    on conflict (sink, org_id) do update set customer_id = excluded.customer_id`.execute(db);
}

/** Which customer of a sink an organization is. */
interface SinkCustomer {
  readonly sink: string;
  readonly orgId: string;
  readonly customerId: string;
}

/** What sinks call the orgs, by org; of one org, sink or customer where they are given. */
export async function readSinkCustomers(
  db: DatabaseExecutor,
  filter: { readonly orgId?: string | undefined; readonly sink?: string | undefined; readonly customerId?: string | undefined } = {},
): Promise<readonly SinkCustomer[]> {
  let query = db.selectFrom("sink_customers").select(["sink", "org_id as orgId", "customer_id as customerId"]);
  if (filter.orgId !== undefined) query = query.where("org_id", "=", filter.orgId);
  if (filter.sink !== undefined) query = query.where("sink", "=", filter.sink);
  if (filter.customerId !== undefined) query = query.where("customer_id", "=", filter.customerId);
  return query.orderBy("org_id").orderBy("sink").execute();
}

/** Makes the org's batches due now that waited for its mapping, and the org with them. Returns how many. */
export async function releaseUnmappedBatches(tx: DatabaseExecutor, orgId: string): Promise<number> {
  await sql`delete from settlement_org_backoff where org_id = ${orgId} and error_code = 'customer_not_mapped'`.execute(tx);
  const result = await sql`
    update settlement_batches set next_attempt_at = billing_now()
    where org_id = ${orgId} and state = 'parked' and last_error_code = 'customer_not_mapped'`.execute(tx);
  return Number(result.numAffectedRows ?? 0n);
}

/** The answers of both sinks to one batch. */
export interface ShadowResult {
  readonly batchId: string;
  readonly sink: string;
  readonly idempotencyKey: string;
  readonly primaryOutcome: string;
  readonly primaryCredits: DecimalText | null;
  readonly shadowOutcome: string;
  readonly shadowCredits: DecimalText | null;
  readonly shadowCode: string | null;
}

/** Keeps the last answer. What was delivered once stays so: a repeat that is refused as duplicate proves nothing new. */
export async function recordShadowResult(db: DatabaseExecutor, result: ShadowResult): Promise<void> {
  await sql`
    insert into sink_shadow_results as r (batch_id, sink, idempotency_key, primary_outcome, primary_credits, shadow_outcome, shadow_credits, shadow_code, recorded_at)
    values (${result.batchId}, ${result.sink}, ${result.idempotencyKey}, ${result.primaryOutcome}, ${result.primaryCredits}::numeric, ${result.shadowOutcome},
      ${result.shadowCredits}::numeric, ${result.shadowCode}, billing_now())
    on conflict (batch_id, sink) do update
    set idempotency_key = excluded.idempotency_key, recorded_at = excluded.recorded_at,
      primary_outcome = case when r.primary_outcome = 'delivered' and excluded.primary_outcome = 'duplicate' then r.primary_outcome else excluded.primary_outcome end,
      primary_credits = coalesce(excluded.primary_credits, r.primary_credits),
      shadow_outcome = case when r.shadow_outcome = 'delivered' and excluded.shadow_outcome = 'duplicate' then r.shadow_outcome else excluded.shadow_outcome end,
      shadow_credits = coalesce(excluded.shadow_credits, r.shadow_credits), shadow_code = excluded.shadow_code`.execute(db);
}

/** A batch that the two sinks answered differently. */
interface ShadowDifference extends ShadowResult {
  readonly orgId: string;
  readonly credits: DecimalText;
}

/** Batches that one sink took and the other did not, or of which they took different amounts; newest first, at most `limit`. */
export async function listShadowDifferences(
  db: DatabaseExecutor,
  options: { readonly limit: number },
): Promise<readonly ShadowDifference[]> {
  const result = await sql<{
    batch_id: string;
    org_id: string;
    credits: string;
    sink: string;
    idempotency_key: string;
    primary_outcome: string;
    primary_credits: string | null;
    shadow_outcome: string;
    shadow_credits: string | null;
    shadow_code: string | null;
  }>`
    select r.*, b.org_id, trim_scale(b.credits) as credits, trim_scale(r.primary_credits) as primary_credits, trim_scale(r.shadow_credits) as shadow_credits
    from sink_shadow_results r join settlement_batches b using (batch_id)
    where (r.primary_outcome in ('delivered', 'duplicate')) <> (r.shadow_outcome in ('delivered', 'duplicate'))
      or r.primary_credits <> r.shadow_credits
    order by r.recorded_at desc
    limit ${options.limit}`.execute(db);
  return result.rows.map((row) => ({
    batchId: row.batch_id,
    orgId: row.org_id,
    credits: row.credits,
    sink: row.sink,
    idempotencyKey: row.idempotency_key,
    primaryOutcome: row.primary_outcome,
    primaryCredits: row.primary_credits,
    shadowOutcome: row.shadow_outcome,
    shadowCredits: row.shadow_credits,
    shadowCode: row.shadow_code,
  }));
}

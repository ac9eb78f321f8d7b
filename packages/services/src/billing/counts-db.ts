/** Statements on counts that are kept beside what they count, by triggers: migration 0050. */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";

/** Batches that are neither delivered nor a shortfall, by state: `state`, `needs_reconcile`, `count`, `credits`, `unposted_credits`. */
export const BATCHES_UNDER_WAY: RawBuilder<unknown> = keptCounts("batches");

/** All gates, by state: `state`, `count`. */
export const GATES: RawBuilder<unknown> = keptCounts("gates");

function keptCounts(subject: "batches" | "gates"): RawBuilder<unknown> {
  return sql`(
    select state, needs_reconcile, sum(count) as count, sum(credits) as credits, sum(unposted_credits) as unposted_credits
    from kept_counts where subject = ${subject} group by state, needs_reconcile having sum(count) <> 0 or sum(credits) <> 0 or sum(unposted_credits) <> 0)`;
}

/**
 * Makes one row of all that was appended to each count, so that reading them stays short; the sums stay what they are, for whoever reads
 * meanwhile, too. Several may do so at once: a row that another took is left to it. Returns how many rows it took.
 */
export async function foldCounts(db: DatabaseExecutor): Promise<number> {
  const result = await sql<{ taken: number }>`
    with taken as (
      delete from kept_counts where (select count(*) from (select from kept_counts limit ${MANY_ROWS}) first_rows) >= ${MANY_ROWS} returning *
    ), folded as (
      insert into kept_counts (subject, state, needs_reconcile, count, credits, unposted_credits)
      select subject, state, needs_reconcile, sum(count), trim_scale(sum(credits)), trim_scale(sum(unposted_credits)) from taken
      group by subject, state, needs_reconcile having sum(count) <> 0 or sum(credits) <> 0 or sum(unposted_credits) <> 0
    )
    select count(*)::int as taken from taken`.execute(db);
  return result.rows[0]?.taken ?? 0;
}

/** Of fewer rows nothing is gained, and an idle deployment writes nothing. */
const MANY_ROWS = 100;

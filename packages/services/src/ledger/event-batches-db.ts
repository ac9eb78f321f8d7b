/** SQL on which batch an event is in: a batch names its events by a range of their ids (`settlement/README.md`, "Sealing"). */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";
import type { ModelUsage } from "../sinks/index.ts";

/** Left join of the batch `b` of each event `e`; null while the event is open. One look-up an event. */
export const JOIN_BATCH: RawBuilder<unknown> = sql`left join lateral (
  select * from settlement_batches b
  where b.org_id = e.org_id and b.through_event_id >= e.event_id and b.after_event_id < e.event_id
  order by b.through_event_id limit 1
) b on true`;

/** Whether the event `e` is one of the batch `b`. For one month's table; of all events it asks each month there is. */
export const IS_IN_RANGE: RawBuilder<boolean> = sql`e.org_id = b.org_id and e.event_id > b.after_event_id and e.event_id <= b.through_event_id`;

/** As {@link IS_IN_RANGE}; no month is looked into that ended before the batch's first event. */
export const IS_IN_BATCH: RawBuilder<boolean> = sql`${IS_IN_RANGE} and e.recorded_at >= b.oldest_event_at`;

/** What the events of a batch used, by model, the largest first; `limit` models, and all others as one without a name. Reads the batch's events by their range. */
export async function readUsageByModel(db: DatabaseExecutor, batchId: string, limit: number): Promise<readonly ModelUsage[]> {
  const result = await sql<ModelUsage>`
    with models as (
      select e.model, sum(e.credits) as credits, count(*) as requests, least(row_number() over (order by sum(e.credits) desc, e.model), ${limit}::integer + 1) as place
      from settlement_batches b join billing_events e on ${IS_IN_BATCH}
      where b.batch_id = ${batchId}
      group by e.model
    )
    select case when place <= ${limit}::integer then min(model) else '' end as model, trim_scale(sum(credits))::text as credits, sum(requests)::integer as requests
    from models group by place order by place`.execute(db);
  return result.rows;
}

/** SQL on which batch an event is in: a batch names its events by a range of their ids (README.md, "Sealing"). */
import { type RawBuilder, sql } from "kysely";

/** Left join of the batch `b` of each event `e`; null while the event is open. One look-up an event. */
export const JOIN_BATCH: RawBuilder<unknown> = sql`left join lateral (
  select * from settlement_batches b
  where b.org_id = e.org_id and b.through_event_id >= e.event_id and b.after_event_id < e.event_id
  order by b.through_event_id limit 1
) b on true`;

/** Whether the event `e` is one of the batch `b`. */
export const IS_IN_BATCH: RawBuilder<boolean> = sql`e.org_id = b.org_id and e.event_id > b.after_event_id and e.event_id <= b.through_event_id`;

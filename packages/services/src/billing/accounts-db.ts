/** SQL that every statement which writes events ends with: the accounts follow the events in the same transaction. */
import { type RawBuilder, sql } from "kysely";

/**
 * Common table expressions over `rows` (`event_id`, `org_id`, `credits`; an event each): `totals` sums them by org, and
 * `accounts` moves each org's account by its sum, making those that were missing. What is open grows, and a balance that is
 * known shrinks. Accounts are locked in the byte order of their ids; sealing keeps the same order, so neither can wait for
 * the other in a circle.
 */
export const MOVE_ACCOUNTS: RawBuilder<unknown> = sql`
  totals as materialized (
    select org_id, count(*)::int as events, sum(credits) as credits, max(event_id) as last_event_id from rows group by org_id
  ), accounts as (
    insert into billing_accounts as a (org_id, last_event_id, open_event_count, open_credits)
    select org_id, last_event_id, events, credits from totals order by org_id collate "C"
    on conflict (org_id) do update
    set last_event_id = excluded.last_event_id, open_event_count = a.open_event_count + excluded.open_event_count,
      open_credits = a.open_credits + excluded.open_credits, balance_credits = a.balance_credits - excluded.open_credits
  )`;

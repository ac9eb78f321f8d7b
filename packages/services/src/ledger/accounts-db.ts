/** SQL that every statement which writes events ends with: the accounts follow the events in the same transaction. */
import { type RawBuilder, sql } from "kysely";

/**
 * Common table expressions over `rows` (`event_id`, `org_id`, `recorded_at`, `credits`, `session_id`, `key_hash`, `spend_usd`; an event each): `totals` sums them by org, and
 * `accounts` moves each org's account by its sum, making those that were missing. What is open grows (and says since when, so that it is looked for in no month before), and a balance that is
 * known shrinks, and so does what the keys of the events may still spend (`key_reservations`), with the balance or not at all. Of an account whose mode is `kept` only what is kept grows; the mode is
 * the locked row's, so a change of it lies before or behind all events of a statement. Accounts are locked in the byte order of their ids; sealing keeps the same order, so neither can wait for
 * the other in a circle; reservations are locked after them, in the order of their keys.
 */
export const MOVE_ACCOUNTS: RawBuilder<unknown> = sql`
  totals as materialized (
    select org_id, count(*)::int as events, sum(credits) as credits, max(event_id) as last_event_id, min(recorded_at) as open_since from rows group by org_id
  ), accounts as (
    insert into billing_accounts as a (org_id, last_event_id, open_event_count, open_credits, open_since)
    select org_id, last_event_id, events, credits, open_since from totals order by org_id collate "C"
    on conflict (org_id) do update
    set last_event_id = excluded.last_event_id,
      -- Events of a kept account are never open: its open range begins behind its newest event.
      sealed_event_id = case a.mode when 'kept' then excluded.last_event_id else a.sealed_event_id end,
      open_event_count = case a.mode when 'kept' then 0 else a.open_event_count + excluded.open_event_count end,
      open_credits = case a.mode when 'kept' then 0 else a.open_credits + excluded.open_credits end,
      kept_event_count = case a.mode when 'kept' then a.kept_event_count + excluded.open_event_count else a.kept_event_count end,
      kept_credits = case a.mode when 'kept' then a.kept_credits + excluded.open_credits else a.kept_credits end,
      open_since = case when a.last_event_id > a.sealed_event_id then least(a.open_since, excluded.open_since) else excluded.open_since end,
      balance_credits = a.balance_credits - excluded.open_credits
  ), spent as (
    select session_id, key_hash, sum(spend_usd) as spend_usd from rows where session_id is not null and key_hash is not null group by session_id, key_hash
  ), reservations as materialized (
    select r.session_id, r.key_generation, spent.spend_usd from key_reservations r join spent on spent.session_id = r.session_id and spent.key_hash = r.key_hash
    order by r.session_id, r.key_generation for no key update of r
  ), reserved as (
    update key_reservations r set spent_usd = r.spent_usd + s.spend_usd
    from reservations s where r.session_id = s.session_id and r.key_generation = s.key_generation
  )`;

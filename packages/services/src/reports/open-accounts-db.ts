import { sql } from "kysely";

/**
 * The accounts that have open events: the few in the index `billing_accounts_open`. The bounds of `open_since` leave nothing out. They are
 * there because the planner believes that the first condition holds for a third of all accounts, and would read them all; of a range
 * between bounds that it does not know it expects little.
 */
export const OPEN_ACCOUNTS = sql`(
  select * from billing_accounts
  where last_event_id > sealed_event_id and open_since >= '-infinity' and open_since <= (select timestamptz 'infinity')
)`;

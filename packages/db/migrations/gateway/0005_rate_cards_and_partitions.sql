-- The billing clock, rate cards, and a ledger in monthly partitions.

-- What every billing statement takes for "now". A simulation sets `llm_gateway.virtual_now` on its connections; elsewhere it
-- is unset, and this is the wall clock of the database server. Volatile on purpose: it moves on within a transaction.
create function billing_now() returns timestamptz
  language sql volatile parallel safe
  return coalesce(nullif(current_setting('llm_gateway.virtual_now', true), '')::timestamptz, clock_timestamp());

-- What the org has left by our own count; null as long as nobody told us what it had. Each ingest subtracts what it billed in
-- the same transaction.
alter table billing_accounts add column if not exists balance_credits numeric;

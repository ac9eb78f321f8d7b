-- one statement at a time, outside of a transaction
-- Indexes of what is under way, so that no statement that runs every few seconds reads what is done. Each is dropped first: a build
-- that broke off leaves one that is no use.

-- What goes to the sink by itself, org by org.
drop index concurrently if exists settlement_batches_moving;
create index concurrently settlement_batches_moving on settlement_batches (org_id, sequence)
  where state in ('sealed', 'sending', 'unknown', 'parked') and not needs_reconcile;

-- Of which the sink stated no amount, or that wait to be compared.
drop index concurrently if exists settlement_batches_unconfirmed;
create index concurrently settlement_batches_unconfirmed on settlement_batches (org_id, sequence)
  where needs_reconcile or (state = 'delivered' and deducted_credits is null);

-- Comparing goes org by org.
drop index concurrently if exists settlement_batches_sent;
create index concurrently settlement_batches_sent on settlement_batches (org_id, first_sent_at) where first_sent_at is not null;
drop index concurrently if exists settlement_batches_first_sent;

-- What was sealed or settled lately.
drop index concurrently if exists settlement_batches_sealed;
create index concurrently settlement_batches_sealed on settlement_batches (sealed_at);

-- Ended sessions of which nobody knows yet that their keys are gone, and those that are old.
drop index concurrently if exists gateway_sessions_keys_left;
create index concurrently gateway_sessions_keys_left on gateway_sessions (ended_at) where state = 'ended' and keys_gone_at is null;
drop index concurrently if exists gateway_sessions_ended;
create index concurrently gateway_sessions_ended on gateway_sessions (ended_at) where state = 'ended';
drop index concurrently if exists gateway_sessions_expiring;
create index concurrently gateway_sessions_expiring on gateway_sessions (expires_at) where state = 'active';

-- one statement at a time, outside of a transaction
-- Where a look at the oldest of what is under way begins, so that it does not follow how much that is. Each is dropped first: a build
-- that broke off leaves one that is no use.

-- The oldest in each state.
drop index concurrently if exists settlement_batches_waiting;
create index concurrently settlement_batches_waiting on settlement_batches (state, needs_reconcile, sealed_at)
  where state <> 'delivered' and state <> 'shortfall';

-- The oldest event that is in no settled batch; where it is not known, the batch is as old as its sealing.
drop index concurrently if exists settlement_batches_oldest_event;
create index concurrently settlement_batches_oldest_event
  on settlement_batches ((case when oldest_event_at > '-infinity' then oldest_event_at else sealed_at end))
  where state <> 'delivered' and state <> 'shortfall';

-- What is due next, without what waits for a comparison.
drop index concurrently if exists settlement_batches_next;
create index concurrently settlement_batches_next on settlement_batches (next_attempt_at)
  where state in ('sealed', 'sending', 'unknown', 'parked') and not needs_reconcile;
drop index concurrently if exists settlement_batches_due;

-- Which keys the sink may have forgotten.
drop index concurrently if exists settlement_batches_moving_sent;
create index concurrently settlement_batches_moving_sent on settlement_batches (first_sent_at)
  where state in ('sealed', 'sending', 'unknown', 'parked') and not needs_reconcile and first_sent_at is not null;

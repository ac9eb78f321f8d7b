-- Events are partitioned by the month in which they were recorded, and a batch or an account names its events by their ids alone: whoever
-- looks for them asks each month there ever was. These two say in which months none of them can be.

-- No open event was recorded before it; what follows from a time long gone is only that more months are looked into.
alter table billing_accounts add column open_since timestamptz not null default '-infinity';
update billing_accounts a
set open_since = coalesce((select min(e.recorded_at) from billing_events e where e.org_id = a.org_id and e.event_id > a.sealed_event_id), '-infinity')
where a.last_event_id > a.sealed_event_id;

-- When the first event of the batch was recorded; -infinity: not known, as the batch was sealed before this column came.
alter table settlement_batches add column oldest_event_at timestamptz not null default '-infinity';
update settlement_batches b
set oldest_event_at = coalesce((select min(e.recorded_at) from billing_events e
  where e.org_id = b.org_id and e.event_id > b.after_event_id and e.event_id <= b.through_event_id), '-infinity')
where b.state not in ('delivered', 'shortfall');

drop trigger settlement_batches_immutable on settlement_batches;
create trigger settlement_batches_immutable before update on settlement_batches for each row
  when ((old.batch_id, old.org_id, old.sequence, old.idempotency_key, old.event_count, old.spend_usd, old.events_credits, old.carry_in, old.carry_out,
        old.credits, old.sealed_at, old.after_event_id, old.through_event_id, old.oldest_event_at)
      is distinct from (new.batch_id, new.org_id, new.sequence, new.idempotency_key, new.event_count, new.spend_usd, new.events_credits, new.carry_in,
        new.carry_out, new.credits, new.sealed_at, new.after_event_id, new.through_event_id, new.oldest_event_at)
    or (old.state = 'delivered' and new.state <> 'delivered'))
  execute function refuse_ledger_change();

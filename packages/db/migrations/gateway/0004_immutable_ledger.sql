-- What was metered and what was sealed is never rewritten, by nobody's mistake either: a correction is a new row. An event
-- changes once, when it gets its batch; of a batch only the state moves, and what the sink answered.

create function refuse_ledger_change() returns trigger language plpgsql as $$
begin
  raise exception 'the ledger is immutable: % of % is refused', lower(tg_op), tg_table_name using errcode = 'integrity_constraint_violation';
end
$$;

create trigger billing_events_immutable before update on billing_events for each row
  when (old.batch_id is not null
    or (old.event_id, old.idempotency_key, old.org_id, old.event_type, old.request_id, old.session_id, old.key_hash, old.model, old.prompt_tokens,
        old.completion_tokens, old.spend_usd, old.markup, old.credits_per_usd, old.credits, old.occurred_at, old.recorded_at)
      is distinct from (new.event_id, new.idempotency_key, new.org_id, new.event_type, new.request_id, new.session_id, new.key_hash, new.model, new.prompt_tokens,
        new.completion_tokens, new.spend_usd, new.markup, new.credits_per_usd, new.credits, new.occurred_at, new.recorded_at))
  execute function refuse_ledger_change();

create trigger settlement_batches_immutable before update on settlement_batches for each row
  when ((old.batch_id, old.org_id, old.sequence, old.idempotency_key, old.event_count, old.spend_usd, old.events_credits, old.carry_in, old.carry_out,
        old.credits, old.sealed_at)
      is distinct from (new.batch_id, new.org_id, new.sequence, new.idempotency_key, new.event_count, new.spend_usd, new.events_credits, new.carry_in,
        new.carry_out, new.credits, new.sealed_at)
    or (old.state = 'delivered' and new.state <> 'delivered'))
  execute function refuse_ledger_change();

create trigger billing_events_kept before delete on billing_events for each row execute function refuse_ledger_change();
create trigger settlement_batches_kept before delete on settlement_batches for each row execute function refuse_ledger_change();

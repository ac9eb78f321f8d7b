-- What passes have done, so that the next one does what is new: on whichever worker.
create table pass_marks (
  name text primary key,
  -- all that came before it is done
  mark timestamptz not null default '-infinity',
  -- when a worker took the pass last; for a while no other does
  taken_at timestamptz not null default '-infinity'
);

-- A sweep goes through the history month by month. Where it stands (as the source spells a start), and up to where everything will be
-- known once it has come round. Null: none is under way.
alter table spend_source_marks
  alter column low_water_mark drop not null,
  alter column swept_at drop not null,
  add column sweep_position timestamp,
  add column sweep_mark timestamptz,
  add column sweep_oldest timestamptz;

-- What the refresh of key budgets saw of an org the last time; while it sees the same there is nothing to decide.
create table key_budget_marks (
  org_id text primary key,
  seen numeric not null
);

-- Batches that are settled for good, counted by the day on which they were sealed: how many there ever were is told without reading
-- them. Kept by a trigger, in the statement that settles a batch.
create table settled_batch_days (
  day date not null,
  state text not null,
  batches bigint not null,
  credits numeric not null,
  last_delivered_at timestamptz,
  primary key (day, state)
) with (fillfactor = 50);

create function count_settled_batch() returns trigger language plpgsql set search_path from current as $$
begin
  if tg_op = 'UPDATE' and old.state in ('delivered', 'shortfall') then
    update settled_batch_days set batches = batches - 1, credits = credits - old.credits where day = (old.sealed_at at time zone 'UTC')::date and state = old.state;
  end if;
  if new.state in ('delivered', 'shortfall') then
    insert into settled_batch_days as d (day, state, batches, credits, last_delivered_at)
    values ((new.sealed_at at time zone 'UTC')::date, new.state, 1, new.credits, new.delivered_at)
    on conflict (day, state) do update
    set batches = d.batches + 1, credits = d.credits + excluded.credits, last_delivered_at = greatest(d.last_delivered_at, excluded.last_delivered_at);
  end if;
  return null;
end
$$;
create trigger settlement_batches_counted_new after insert on settlement_batches for each row
  when (new.state in ('delivered', 'shortfall')) execute function count_settled_batch();
create trigger settlement_batches_counted after update of state on settlement_batches for each row
  when (old.state is distinct from new.state and (old.state in ('delivered', 'shortfall') or new.state in ('delivered', 'shortfall')))
  execute function count_settled_batch();

insert into settled_batch_days (day, state, batches, credits, last_delivered_at)
select (sealed_at at time zone 'UTC')::date, state, count(*), sum(credits), max(delivered_at) from settlement_batches
where state in ('delivered', 'shortfall') group by 1, 2;

-- Whoever empties the batches (a test) empties their counts.
create function empty_settled_batch_days() returns trigger language plpgsql set search_path from current as $$
begin
  delete from settled_batch_days;
  return null;
end
$$;
create trigger settlement_batches_emptied after truncate on settlement_batches for each statement execute function empty_settled_batch_days();

-- When the last key of an ended session was seen to be gone; null: to be looked at.
alter table gateway_sessions add column keys_gone_at timestamptz;

-- A counter changes with each request, and nothing that changes is indexed: room for the next version beside it.
alter table budget_counters set (fillfactor = 50);

-- Events that came into the default partition, because their month's was missing, get their month: the default is emptied into the
-- partitions that it stood in for. Returns how many. Call it under the ingest lock; nothing is written meanwhile, and an event keeps
-- all of its columns.
create function adopt_stray_events() returns integer language plpgsql set search_path from current as $$
declare
  month timestamp;
  name text;
  strays integer;
begin
  if not exists (select from billing_events_default) then
    return 0;
  end if;
  alter table billing_events detach partition billing_events_default;
  alter table billing_events_default rename to billing_events_strays;
  create table billing_events_default partition of billing_events default;
  for month in select distinct date_trunc('month', recorded_at at time zone 'UTC') from billing_events_strays loop
    name := 'billing_events_' || to_char(month, 'YYYY_MM');
    if to_regclass(name) is null then
      execute format('create table %I partition of billing_events for values from (%L) to (%L)', name,
        month at time zone 'UTC', (month + interval '1 month') at time zone 'UTC');
    end if;
  end loop;
  insert into billing_events select * from billing_events_strays;
  get diagnostics strays = row_count;
  drop table billing_events_strays;
  return strays;
end
$$;

-- A batch covers a range of its org's events, so sealing writes nothing on an event, and an event is never written twice.
-- Why no event can come into a range after it was sealed: services/src/billing/README.md, "Sealing".

drop view billing_invariant;
drop view billing_unposted;
drop trigger billing_events_immutable on billing_events;
drop trigger settlement_batches_immutable on settlement_batches;

-- Names are compared by their bytes: several times faster in the indexes of a database that has a language, and the same
-- order of accounts for whoever locks several of them.
alter table billing_accounts alter column org_id type text collate "C";
alter table settlement_batches alter column org_id type text collate "C";
alter table billing_event_keys alter column idempotency_key type text collate "C";
alter table billing_events
  alter column idempotency_key type text collate "C",
  alter column org_id type text collate "C",
  alter column session_id type text collate "C";

-- What ingest moves in the transaction that writes the events, and what sealing is checked by.
alter table billing_accounts
  -- the newest event
  add column last_event_id bigint not null default 0,
  -- the newest event that is in a batch; later ones are open
  add column sealed_event_id bigint not null default 0,
  add column open_event_count integer not null default 0,
  add column open_credits numeric not null default 0,
  -- room for the next version of a row beside it: it changes with every chunk, and nothing that changes is indexed
  set (fillfactor = 50);

-- The org's events with after_event_id < event_id <= through_event_id; the next batch begins where this one ends. Both are
-- equal where the batch has no events left in the ledger (its months are retired).
alter table settlement_batches add column after_event_id bigint, add column through_event_id bigint;
update settlement_batches b set after_event_id = r.after_event_id, through_event_id = r.through_event_id
from (
  select batch_id, coalesce(max(newest) over (partition by org_id order by sequence rows between unbounded preceding and 1 preceding), 0) as after_event_id,
    coalesce(max(newest) over (partition by org_id order by sequence), 0) as through_event_id
  from settlement_batches left join (select batch_id, max(event_id) as newest from billing_events where batch_id is not null group by batch_id) e using (batch_id)
) r where r.batch_id = b.batch_id;
alter table settlement_batches
  alter column after_event_id set not null,
  alter column through_event_id set not null,
  add check (after_event_id <= through_event_id);
create index settlement_batches_range on settlement_batches (org_id, through_event_id);

do $$
declare
  stray record;
begin
  select e.event_id, e.org_id, e.batch_id, b.batch_id as range_batch_id into stray
  from billing_events e
  left join lateral (
    select batch_id from settlement_batches b
    where b.org_id = e.org_id and b.through_event_id >= e.event_id and b.after_event_id < e.event_id order by b.through_event_id limit 1
  ) b on true
  where b.batch_id is distinct from e.batch_id limit 1;
  if found then
    raise exception 'event % of organization % is in batch %, but lies among the events of batch %: batches cannot be told by ranges. Put the event into that batch, or ask for help; nothing was changed',
      stray.event_id, stray.org_id, coalesce(stray.batch_id::text, 'none'), coalesce(stray.range_batch_id::text, 'none');
  end if;
end
$$;

insert into billing_accounts (org_id) select distinct org_id from billing_events on conflict do nothing;
update billing_accounts a set sealed_event_id = b.through_event_id, last_event_id = b.through_event_id
from (select org_id, max(through_event_id) as through_event_id from settlement_batches group by org_id) b where b.org_id = a.org_id;
update billing_accounts a set last_event_id = e.newest, open_event_count = e.events, open_credits = e.credits
from (select org_id, max(event_id) as newest, count(*) as events, sum(credits) as credits from billing_events where batch_id is null group by org_id) e
where e.org_id = a.org_id;
alter table billing_accounts add check (sealed_event_id < last_event_id or (sealed_event_id = last_event_id and open_event_count = 0 and open_credits = 0));

-- With the column go its two indexes. By org and id serves sealing, listing and looking an event up by its key; reports by
-- time read the blocks of that time.
alter table billing_events drop column batch_id;
drop index billing_events_by_org;
-- 0005 named the key so, because the former table still had its name.
alter table billing_events drop constraint billing_events_pkey1, add primary key (org_id, event_id, recorded_at);
create index billing_events_by_time on billing_events using brin (occurred_at) with (autosummarize = on);

-- Completes the event's primary key. Null where the event had left the ledger before this column came.
alter table billing_event_keys add column org_id text collate "C";
update billing_event_keys k set org_id = e.org_id from billing_events e where e.event_id = k.event_id and e.recorded_at = k.recorded_at;

create trigger billing_events_immutable before update on billing_events for each row execute function refuse_ledger_change();
create trigger settlement_batches_immutable before update on settlement_batches for each row
  when ((old.batch_id, old.org_id, old.sequence, old.idempotency_key, old.event_count, old.spend_usd, old.events_credits, old.carry_in, old.carry_out,
        old.credits, old.sealed_at, old.after_event_id, old.through_event_id)
      is distinct from (new.batch_id, new.org_id, new.sequence, new.idempotency_key, new.event_count, new.spend_usd, new.events_credits, new.carry_in,
        new.carry_out, new.credits, new.sealed_at, new.after_event_id, new.through_event_id)
    or (old.state = 'delivered' and new.state <> 'delivered'))
  execute function refuse_ledger_change();

-- Whoever empties the whole ledger (a test) leaves no key and nothing open.
create or replace function empty_event_keys() returns trigger language plpgsql set search_path from current as $$
begin
  truncate billing_event_keys;
  update billing_accounts set sealed_event_id = last_event_id, open_event_count = 0, open_credits = 0 where sealed_event_id < last_event_id;
  return null;
end
$$;

-- As in 0005; events are found by their whole key.
create or replace function billing_source_credits() returns table (org_id text, source_credits numeric, uncorrected_credits numeric)
  language plpgsql stable set work_mem = '64MB' as $$
begin
  if to_regclass('"LiteLLM_SpendLogs"') is null then
    return query select e.org_id, sum(e.credits), sum(0::numeric) from billing_events e group by e.org_id;
    return;
  end if;
  return query
    with priced as (
      select e.org_id, e.event_type, e.spend_usd, e.credits, e.markup * e.credits_per_usd as rate, k.source_spend as seen,
        case when s.request_id is null or s."startTime" <> k.source_start or abs(s.spend) > 1000000 then k.source_spend else s.spend end as source
      from billing_event_keys k
      join billing_events e on e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at
      left join "LiteLLM_SpendLogs" s on k.idempotency_key = 'llm:' || s.request_id
      where k.source_spend is not null
    )
    -- A request that became negative is charged nothing; a correction row may have been cut at what was charged.
    select p.org_id,
      sum(case when p.event_type = 'adjustment' then p.credits when p.spend_usd < 0 then p.source::text::numeric * p.rate
        else greatest(p.source, 0)::text::numeric * p.rate end),
      sum(case when p.event_type = 'adjustment' or p.spend_usd < 0 then (p.source::text::numeric - p.seen::text::numeric) * p.rate
        else (greatest(p.source, 0)::text::numeric - greatest(p.seen, 0)::text::numeric) * p.rate end)
    from priced p group by p.org_id;
end
$$;

-- As in 0005. The open part is what the accounts say, the source's part what the events themselves say: where the two come
-- apart, `difference` shows it.
create view billing_invariant as
  select org_id, source_credits, uncorrected_credits, ledger_credits, delivered, pending, parked, dead, unapplied, shortfall, carry,
    source_credits - uncorrected_credits - ledger_credits as difference
  from (
    select org_id, coalesce(s.source_credits, 0) + coalesce(r.credits, 0) as source_credits, coalesce(s.uncorrected_credits, 0) as uncorrected_credits,
      coalesce(b.credits, 0) + coalesce(a.open_credits, 0) + coalesce(a.carry_credits, 0) as ledger_credits,
      coalesce(b.delivered, 0) as delivered, coalesce(b.moving, 0) + coalesce(a.open_credits, 0) as pending, coalesce(b.parked, 0) as parked,
      coalesce(b.dead, 0) as dead, coalesce(b.unapplied, 0) as unapplied, coalesce(b.shortfall, 0) as shortfall, coalesce(a.carry_credits, 0) as carry
    from (
      select org_id, sum(credits) as credits,
        sum(case when state = 'delivered' then credits when state in ('unapplied', 'shortfall') then coalesce(deducted_credits, 0) end) as delivered,
        sum(credits) filter (where state in ('sealed', 'sending', 'unknown')) as moving,
        sum(credits) filter (where state = 'parked') as parked,
        sum(credits) filter (where state = 'dead') as dead,
        sum(credits - coalesce(deducted_credits, 0)) filter (where state = 'unapplied') as unapplied,
        sum(credits - coalesce(deducted_credits, 0)) filter (where state = 'shortfall') as shortfall
      from settlement_batches group by org_id
    ) b
    full join billing_accounts a using (org_id)
    full join billing_source_credits() s using (org_id)
    full join (select org_id, sum(credits) as credits from retired_event_sums group by org_id) r using (org_id)
  ) sums;

-- As in 0007.
create view billing_unposted as
  select a.org_id,
    a.carry_credits + a.open_credits
      + coalesce((select sum(b.credits - coalesce(b.deducted_credits, 0)) from settlement_batches b
          where b.org_id = a.org_id and b.state <> 'delivered' and not (b.first_sent_at is not null and b.deducted_credits is null)), 0) as certain_credits,
    coalesce((select sum(b.credits) from settlement_batches b
      where b.org_id = a.org_id and b.state <> 'delivered' and b.first_sent_at is not null and b.deducted_credits is null), 0) as uncertain_credits
  from billing_accounts a;

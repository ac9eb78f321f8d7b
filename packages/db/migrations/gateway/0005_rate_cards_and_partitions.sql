-- The billing clock, rate cards, and a ledger in monthly partitions.

-- What every billing statement takes for "now". A simulation sets `llm_gateway.virtual_now` on its connections; elsewhere it
-- is unset, and this is the wall clock of the database server. Volatile on purpose: it moves on within a transaction.
create function billing_now() returns timestamptz
  language sql volatile parallel safe
  return coalesce(nullif(current_setting('llm_gateway.virtual_now', true), '')::timestamptz, clock_timestamp());

-- What the org has left by our own count; null as long as nobody told us what it had. Each ingest subtracts what it billed in
-- the same transaction.
alter table billing_accounts add column if not exists balance_credits numeric;

-- What turns spend into credits, by the time at which a request began. An org's own card comes before the default (org_id
-- null). The rate is frozen on each event, so a card can be ended but never rewritten.
create table rate_cards (
  rate_card_id bigint generated always as identity primary key,
  org_id text check (org_id <> ''),
  markup numeric not null check (markup > 0),
  credits_per_usd numeric not null check (credits_per_usd > 0),
  valid_from timestamptz not null,
  -- exclusive
  valid_to timestamptz not null default 'infinity',
  -- 'environment': made from BILLING_MARKUP, and replaced from now on when that changes
  source text not null default 'operator' check (source in ('operator', 'environment')),
  created_at timestamptz not null default now(),
  check (valid_from < valid_to),
  -- at most one card of an org at any time; ranges of the org's hash need no extension where text would
  constraint rate_cards_overlap exclude using gist (
    numrange(hashtextextended(coalesce(org_id, ''), 0)::numeric, hashtextextended(coalesce(org_id, ''), 0)::numeric, '[]') with &&,
    tstzrange(valid_from, valid_to) with &&)
);

-- The one guard against billing a spend row twice. It holds over all partitions of the ledger, and outlives those that are
-- retired: a spend row that comes again after years is still known.
create table billing_event_keys (
  -- 'llm:' + request id, 'row:' + a hash of a row whose id is unusable, 'adj:' + request id + ':' + n
  idempotency_key text primary key,
  -- where the event is: together the key of billing_events
  event_id bigint not null,
  recorded_at timestamptz not null,
  -- the source row as it was billed; a later difference is a correction (spend) or another request under a used id (start).
  -- Null on adjustments.
  source_start timestamp(3),
  source_spend double precision,
  -- adjustments made so far
  adjustment_count integer not null default 0
);

-- A pass compares the source's rows of some hours with the keys of the same hours, not with all there are.
create index billing_event_keys_start on billing_event_keys (source_start);

-- The ledger, in partitions of the month in which an event was recorded. Not of the month in which its request began: late
-- rows arrive at any time, so only by the recording does a month ever close, and only a closed month can be judged and retired.
-- batch_id has no foreign key: the statement that writes it makes the batch, and a check of each row would cost more than sealing.
alter table billing_events rename to billing_events_unpartitioned;
create sequence billing_event_ids as bigint cache 1;
create table billing_events (
  event_id bigint not null default nextval('billing_event_ids'),
  idempotency_key text not null,
  org_id text not null,
  event_type text not null default 'llm' check (event_type in ('llm', 'adjustment')),
  -- of an adjustment: of the request that it corrects
  request_id text not null,
  -- of an adjustment: the event that it corrects, which may be in a retired partition
  original_event_id bigint,
  session_id text,
  key_hash text,
  model text not null,
  prompt_tokens integer not null,
  completion_tokens integer not null,
  spend_usd numeric not null,
  -- frozen at ingest: credits = spend_usd * markup * credits_per_usd. Null card: no card was valid, the environment's rate
  rate_card_id bigint,
  markup numeric not null,
  credits_per_usd numeric not null,
  credits numeric not null check (credits = spend_usd * markup * credits_per_usd),
  occurred_at timestamptz not null,
  recorded_at timestamptz not null default billing_now(),
  batch_id uuid,
  primary key (event_id, recorded_at),
  check ((event_type = 'adjustment') = (original_event_id is not null))
) partition by range (recorded_at);
-- So that a missing month never stops billing; empty as long as the partition job runs.
create table billing_events_default partition of billing_events default;

create index billing_events_open on billing_events (org_id) where batch_id is null;
create index billing_events_by_org on billing_events (org_id, occurred_at);
create index billing_events_by_session on billing_events (session_id) where session_id is not null;
create index billing_events_by_batch on billing_events (batch_id) where batch_id is not null;

-- Makes the partitions of this month and of `months` after it; those that exist are left alone. Returns how many it made.
create function ensure_event_partitions(months integer) returns integer language plpgsql set search_path from current as $$
declare
  month timestamp := date_trunc('month', billing_now() at time zone 'UTC');
  name text;
  made integer := 0;
begin
  for n in 0 .. months loop
    name := 'billing_events_' || to_char(month + make_interval(months => n), 'YYYY_MM');
    if to_regclass(name) is null then
      execute format('create table %I partition of billing_events for values from (%L) to (%L)', name,
        (month + make_interval(months => n)) at time zone 'UTC', (month + make_interval(months => n + 1)) at time zone 'UTC');
      made := made + 1;
    end if;
  end loop;
  return made;
end
$$;
select ensure_event_partitions(2);

insert into billing_events (event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens, spend_usd,
  markup, credits_per_usd, credits, occurred_at, recorded_at, batch_id)
select event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens, spend_usd,
  markup, credits_per_usd, credits, occurred_at, recorded_at, batch_id
from billing_events_unpartitioned;
insert into billing_event_keys (idempotency_key, event_id, recorded_at, source_start, source_spend)
select idempotency_key, event_id, recorded_at, occurred_at at time zone 'UTC', spend_usd::float8 from billing_events_unpartitioned;
select setval('billing_event_ids', greatest(1, (select max(event_id) from billing_events)), exists (select from billing_events));
drop table billing_events_unpartitioned;

-- As in 0004, on the new table.
create trigger billing_events_immutable before update on billing_events for each row
  when (old.batch_id is not null
    or (old.event_id, old.idempotency_key, old.org_id, old.event_type, old.request_id, old.original_event_id, old.session_id, old.key_hash, old.model,
        old.prompt_tokens, old.completion_tokens, old.spend_usd, old.rate_card_id, old.markup, old.credits_per_usd, old.credits, old.occurred_at, old.recorded_at)
      is distinct from (new.event_id, new.idempotency_key, new.org_id, new.event_type, new.request_id, new.original_event_id, new.session_id, new.key_hash, new.model,
        new.prompt_tokens, new.completion_tokens, new.spend_usd, new.rate_card_id, new.markup, new.credits_per_usd, new.credits, new.occurred_at, new.recorded_at))
  execute function refuse_ledger_change();
create trigger billing_events_kept before delete on billing_events for each row execute function refuse_ledger_change();

-- Whoever empties the whole ledger (a test) empties its keys with it.
create function empty_event_keys() returns trigger language plpgsql set search_path from current as $$
begin
  truncate billing_event_keys;
  return null;
end
$$;
create trigger billing_events_emptied after truncate on billing_events for each statement execute function empty_event_keys();

-- What left the ledger with a retired partition, so that sums over all time still add up.
create table retired_event_sums (
  partition text not null,
  org_id text not null,
  events bigint not null,
  spend_usd numeric not null,
  credits numeric not null,
  recorded_from timestamptz not null,
  recorded_to timestamptz not null,
  retired_at timestamptz not null default billing_now(),
  primary key (partition, org_id)
);

-- A review keeps all that billing needs, so that it can be settled after the source has deleted its row.
alter table spend_reviews drop constraint spend_reviews_reason_check;
alter table spend_reviews add constraint spend_reviews_reason_check
  check (reason in ('no_org', 'no_request_id', 'bad_spend', 'recycled_id', 'unlinked_refund', 'excess_refund', 'zero_price'));
alter table spend_reviews
  add column org_id text,
  add column session_id text,
  add column key_hash text,
  add column prompt_tokens integer not null default 0,
  add column completion_tokens integer not null default 0,
  -- 'billed': by a person's decision or because the source was repaired; 'dismissed': looked at, nothing to bill
  add column resolution text check (resolution in ('billed', 'dismissed'));
create index spend_reviews_key on spend_reviews (key_hash) where resolved_at is null;

-- Whose usage it is, where the spend row does not say: told by a person, by the hash of the key.
create table key_owners (
  key_hash text primary key,
  org_id text not null check (org_id <> ''),
  created_at timestamptz not null default billing_now()
);

create index gateway_sessions_key_hash on gateway_sessions (key_hash) where key_hash is not null;

-- One row: how far the source is known to be billed. Every spend row that began before the mark, and was there when the last
-- whole sweep began, is billed or in review; so the source may delete what is older, and nothing else.
create table spend_source_marks (
  singleton boolean primary key default true check (singleton),
  low_water_mark timestamptz not null,
  swept_at timestamptz not null,
  -- start of the oldest row that the source still had; null: it had none
  source_oldest timestamptz
);

-- Things that a person has to look at, one row a happening; raised again, it stays one row.
create table billing_alerts (
  alert_key text primary key,
  kind text not null check (kind in ('source_rows_deleted', 'partition_missing', 'ledger_gap')),
  message text not null,
  facts jsonb not null default '{}',
  raised_at timestamptz not null default billing_now(),
  cleared_at timestamptz
);

-- Each comparison of source and ledger, and what it found and healed.
create table completeness_audits (
  audit_id bigint generated always as identity primary key,
  range_from timestamptz not null,
  range_to timestamptz not null,
  started_at timestamptz not null,
  finished_at timestamptz not null,
  compared_rows bigint not null,
  gaps integer not null,
  missing_rows bigint not null,
  missing_usd numeric not null,
  healed_rows bigint not null
);

-- What the source says of everything that has an event, priced as each event was; and what it says by now that no adjustment has
-- followed yet. A function, because the source's table is another's, and may not exist when this is applied.
create function billing_source_credits() returns table (org_id text, source_credits numeric, uncorrected_credits numeric) language plpgsql stable as $$
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
      join billing_events e on e.event_id = k.event_id and e.recorded_at = k.recorded_at
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

-- The promise of billing, one row an org: what the source says = what is delivered, on its way, at rest, or carried. It holds
-- at every moment when `difference` is 0 everywhere.
create view billing_invariant as
  select org_id, source_credits, uncorrected_credits, ledger_credits, delivered, pending, parked, dead, unapplied, shortfall, carry,
    source_credits - uncorrected_credits - ledger_credits as difference
  from (
    select org_id, coalesce(s.source_credits, 0) + coalesce(r.credits, 0) as source_credits, coalesce(s.uncorrected_credits, 0) as uncorrected_credits,
      coalesce(b.credits, 0) + coalesce(o.credits, 0) + coalesce(a.carry_credits, 0) as ledger_credits,
      coalesce(b.delivered, 0) as delivered, coalesce(b.moving, 0) + coalesce(o.credits, 0) as pending, coalesce(b.parked, 0) as parked,
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
    full join (select org_id, sum(credits) as credits from billing_events where batch_id is null group by org_id) o using (org_id)
    full join billing_accounts a using (org_id)
    full join billing_source_credits() s using (org_id)
    full join (select org_id, sum(credits) as credits from retired_event_sums group by org_id) r using (org_id)
  ) sums;

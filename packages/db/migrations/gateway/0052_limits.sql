-- Any limit of anybody on a request's path, not only USD of a key or team. `limits` says what holds beside LiteLLM's `max_budget` columns;
-- `limit_counters` counts for all of them: one row a principal, meter, window and start of the window. It is `budget_counters` under
-- the name of what it has become. The process of an older version goes on with the view of that name: the rows that it knows.
--
-- The key of a million counters is built anew here, in some two seconds, under the table's lock.

-- When the window began that is open at a moment. `total` never began and never ends; `5h` is counted from 1970; the others are the calendar's, in
-- UTC or, after an @, in a time zone: `day@Europe/Berlin`. Weeks begin on Monday. An unknown time zone is an error (22023).
create function limit_window_start(limit_window text, moment timestamptz) returns timestamptz language sql stable return
  case
    when limit_window = 'total' then '-infinity'::timestamptz
    when limit_window ~ '^[0-9]' then to_timestamp(
      floor(extract(epoch from moment) / extract(epoch from limit_window::interval)) * extract(epoch from limit_window::interval))
    else date_trunc(split_part(limit_window, '@', 1), moment, coalesce(nullif(split_part(limit_window, '@', 2), ''), 'UTC'))
  end;

-- When a window ends that began then. A day of a time zone has 23 to 25 hours.
create function limit_window_end(limit_window text, window_start timestamptz) returns timestamptz language sql stable return
  case
    when limit_window = 'total' then 'infinity'::timestamptz
    when limit_window ~ '^[0-9]' then window_start + limit_window::interval
    else ((window_start at time zone coalesce(nullif(split_part(limit_window, '@', 2), ''), 'UTC')) + ('1 ' || split_part(limit_window, '@', 1))::interval)
      at time zone coalesce(nullif(split_part(limit_window, '@', 2), ''), 'UTC')
  end;

-- The window of a LiteLLM duration: its budgets snap to days, weeks that begin on Monday, and months.
create function limit_window_of(duration text) returns text language sql immutable return
  case
    when duration in ('24h', '1d') then 'day'
    when duration in ('7d', '1w') then 'week'
    when duration in ('30d', '1mo') then 'month'
    when duration ~ '^[1-9][0-9]{0,5}[smhd]$' then duration
    when duration ~ '^[1-9][0-9]{0,3}w$' then (left(duration, -1)::integer * 7) || 'd'
    when duration ~ '^[1-9][0-9]{0,3}mo$' then (left(duration, -2)::integer * 30) || 'd'
    else 'total'
  end;

create table limits (
  principal_kind text not null check (principal_kind in ('payer', 'team', 'user', 'key')),
  -- of a key: its SHA-256 in hex
  principal_id text not null,
  meter text not null,
  limit_window text not null check (limit_window ~ '^(total|(minute|hour|day|week|month)(@[A-Za-z0-9_+/-]{1,64})?|[1-9][0-9]{0,5}[smhd])$'),
  -- '' for all models; else the name that callers call it by
  model text not null default '',
  amount numeric not null check (amount >= 0),
  -- `count` refuses nobody: it only counts
  enforce text not null default 'refuse' check (enforce in ('refuse', 'count')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (principal_kind, principal_id, meter, limit_window, model),
  -- These two are LiteLLM's max_budget, which stands on the key and the team.
  check (not (principal_kind in ('key', 'team') and meter = 'usd' and limit_window = 'total' and model = ''))
);

alter table budget_counters rename to limit_counters;
alter table limit_counters rename column scope to principal_kind;
alter table limit_counters rename column scope_id to principal_id;
alter table limit_counters rename column spend_usd to used;
alter table limit_counters rename column reserved_usd to reserved;
alter table limit_counters
  add column meter text not null default 'usd',
  add column limit_window text not null default 'total',
  add column model text not null default '',
  add column window_start timestamptz not null default '-infinity',
  add column window_end timestamptz not null default 'infinity',
  drop constraint budget_counters_scope_check,
  add constraint limit_counters_principal_kind_check check (principal_kind in ('payer', 'team', 'user', 'key')) not valid,
  drop constraint budget_counters_pkey,
  add constraint limit_counters_pkey primary key (principal_kind, principal_id, meter, limit_window, model, window_start);
alter table limit_counters rename constraint budget_counters_reserved_usd_check to limit_counters_reserved_check;

-- What of the windows that are over may be deleted.
create index limit_counters_ended on limit_counters (window_end) where window_end < 'infinity';

create view budget_counters with (security_invoker = true) as
  select principal_kind as scope, principal_id as scope_id, used as spend_usd, reserved as reserved_usd from limit_counters
  where meter = 'usd' and limit_window = 'total' and model = '' and principal_kind in ('key', 'team');

-- What an attempt holds beside `reserved_usd` in the counters of its key and team: null where that is all. Each amount is text, so that no
-- float touches it: [{"kind": "user", "id": "u1", "meter": "requests", "window": "day", "model": "", "start": "2026-11-27 00:00:00+00", "amount": "1"}]
alter table request_attempts add column reservations jsonb;

-- What such a list holds, in the shape of a counter. A function of its own, and none that the planner looks into, so that it expects the
-- few rows that there are; of a list of JSON it expects a hundred, and would read all counters to find them.
create function reservations_of(reservations jsonb)
  returns table (principal_kind text, principal_id text, meter text, limit_window text, model text, window_start timestamptz, amount numeric)
  language plpgsql immutable strict rows 2 as $$
begin
  return query select r.kind, r.id, r.meter, r."window", r.model, r.start, r.amount
    from jsonb_to_recordset(reservations) as r (kind text, id text, meter text, "window" text, model text, start timestamptz, amount numeric);
end
$$;

-- What an org may still spend, and who acts on it. Prose: services/src/{balance,billing-gate,key-budgets,top-up}/README.md.
-- The balance itself is billing_accounts.balance_credits: the ingest transaction takes from it, reconciling gives to it,
-- nothing else moves it. Locks are taken in the order org_gates, billing_accounts.

-- What an org used and the sink has not taken, or may not have taken. A batch that was sent without a clear answer is
-- uncertain: both readings of the remote balance are possible until the answer is known.
create view billing_unposted as
  select a.org_id,
    a.carry_credits
      + coalesce((select sum(e.credits) from billing_events e where e.org_id = a.org_id and e.batch_id is null), 0)
      + coalesce((select sum(b.credits - coalesce(b.deducted_credits, 0)) from settlement_batches b
          where b.org_id = a.org_id and b.state <> 'delivered' and not (b.first_sent_at is not null and b.deducted_credits is null)), 0) as certain_credits,
    coalesce((select sum(b.credits) from settlement_batches b
      where b.org_id = a.org_id and b.state <> 'delivered' and b.first_sent_at is not null and b.deducted_credits is null), 0) as uncertain_credits
  from billing_accounts a;

-- One row per org that the gate was ever asked about or that ever spent: its state, its settings, and what the sink said
-- last. The row is the lock under which state changes and sessions are admitted.
create table org_gates (
  org_id text primary key,
  state text not null default 'unconfigured' check (state in ('unconfigured', 'trial', 'active', 'grace', 'exhausted', 'suspended')),
  state_since timestamptz not null default now(),
  -- why it is exhausted: what the caller is told
  exhausted_by text check (exhausted_by in ('grace', 'overdraft', 'balance')),
  grace_until timestamptz,
  suspended_reason text,
  -- settings
  plan text not null default 'paid' check (plan in ('paid', 'trial')),
  grace_ms integer not null default 300000 check (grace_ms between 0 and 3600000),
  overdraft_credits numeric not null default 500 check (overdraft_credits >= 0),
  min_credits numeric not null default 11 check (min_credits >= 0),
  max_sessions integer check (max_sessions >= 0),
  low_balance_credits numeric not null default 100 check (low_balance_credits >= 0),
  -- told once per crossing
  low_balance_told boolean not null default false,
  -- credits that one USD of provider cost takes: markup x credits per USD
  credits_per_spend_usd numeric check (credits_per_spend_usd > 0),
  -- the last reading of the sink's balance
  remote_granted_credits numeric,
  remote_next_reset_at timestamptz,
  reconciled_at timestamptz,
  -- asked for on demand; served when reconciled_at is not before it
  reconcile_wanted_at timestamptz,
  -- a failing org is tried again later and holds up nobody
  reconcile_retry_at timestamptz,
  reconcile_problem text,
  check (state <> 'grace' or grace_until is not null)
);
create index org_gates_reconcile on org_gates (reconciled_at nulls first);

-- Every reading that set or changed a balance, and every drift: before + grant_credits - drift_credits = after.
create table balance_reconciliations (
  reconciliation_id bigint generated always as identity primary key,
  org_id text not null,
  trigger text not null check (trigger in ('first_sight', 'scheduled', 'on_demand', 'top_up')),
  before_credits numeric,
  remote_credits numeric not null,
  unposted_credits numeric not null,
  uncertain_credits numeric not null,
  after_credits numeric not null,
  -- explained: the sink granted more, or its period began anew
  grant_credits numeric not null,
  -- unexplained: local minus what the sink justifies
  drift_credits numeric not null,
  severity text not null check (severity in ('none', 'info', 'warn', 'critical')),
  cause text not null check (cause in ('first_sight', 'agrees', 'grant', 'period_reset', 'sink_took_more', 'sink_took_less')),
  reconciled_at timestamptz not null
);
create index balance_reconciliations_org on balance_reconciliations (org_id, reconciliation_id);

-- What each live key of a session may still spend, in USD of provider cost. A key's budget is decided here first and told
-- to the proxy afterwards; what the org has reserved in it counts whichever of the two is larger, so a crash in between
-- reserves too much, never too little.
create table key_reservations (
  session_id text not null,
  key_generation integer not null,
  org_id text not null references org_gates (org_id),
  -- null until the key is minted
  key_hash text,
  -- total that the key may spend: as decided, and as the proxy was last told
  budget_usd numeric not null check (budget_usd >= 0),
  applied_usd numeric not null check (applied_usd >= 0),
  -- of it, on the ledger
  spent_usd numeric not null default 0,
  -- the caller's own limit for this key
  limit_usd numeric,
  blocked boolean not null default false,
  applied_blocked boolean not null default false,
  created_at timestamptz not null,
  -- ended: holds what is still under way, counts as no session
  released_at timestamptz,
  primary key (session_id, key_generation)
);
create index key_reservations_org on key_reservations (org_id);

create table top_up_policies (
  org_id text primary key references org_gates (org_id),
  enabled boolean not null default true,
  -- the sink's plan that sells the pack, and the credits in it
  plan_id text not null,
  pack_credits numeric not null check (pack_credits > 0),
  -- bought when the balance is at or below
  threshold_credits numeric not null default 0,
  max_packs_per_month integer not null default 20 check (max_packs_per_month >= 0),
  min_interval_ms integer not null default 60000 check (min_interval_ms >= 0),
  -- after a declined card nothing is bought until then
  breaker_until timestamptz,
  breaker_reason text
);

-- One row per pack, written before the sink is asked for it.
create table top_ups (
  top_up_id uuid primary key,
  org_id text not null references top_up_policies (org_id),
  -- 2026-11, UTC
  month text not null,
  pack_number integer not null,
  idempotency_key text not null unique,
  plan_id text not null,
  credits numeric not null,
  state text not null default 'charging' check (state in ('charging', 'unknown', 'paid', 'declined', 'needs_review')),
  -- granted at the sink before the first attempt; what confirms a pack whose answer was lost
  granted_before numeric,
  lease_until timestamptz,
  attempt_count integer not null default 0,
  next_attempt_at timestamptz not null,
  first_sent_at timestamptz,
  started_at timestamptz not null,
  finished_at timestamptz,
  error_code text,
  error_message text,
  unique (org_id, month, pack_number)
);
-- one pack at a time
create unique index top_ups_open on top_ups (org_id) where state in ('charging', 'unknown', 'needs_review');

-- What a customer's own systems are told, written in the transaction of what it tells of, sent afterwards.
create table webhook_events (
  event_id uuid primary key default gen_random_uuid(),
  -- what happened; the same happening is told once
  event_key text not null unique,
  type text not null,
  org_id text not null,
  payload jsonb not null,
  state text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
  created_at timestamptz not null,
  lease_until timestamptz,
  next_attempt_at timestamptz not null,
  attempt_count integer not null default 0,
  last_status integer,
  last_error text,
  delivered_at timestamptz
);
create index webhook_events_due on webhook_events (next_attempt_at) where state = 'pending';

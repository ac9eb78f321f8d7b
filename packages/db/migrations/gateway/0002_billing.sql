-- The ledger and its settlement. Amounts are NUMERIC without a scale: a product of two exact numbers is stored exactly.

-- One row, made when the first batch is sealed: keeps the batch keys of two deployments that share an Autumn organization
-- apart. A copy of the database shares it, so a copy must never be given the live Autumn key.
create table billing_deployment (
  singleton boolean primary key default true check (singleton),
  deployment_id uuid not null default gen_random_uuid()
);

-- The id of an org's n-th batch: a name-based UUID (version 8), so that sealing again after a crash gives the same id.
create function settlement_batch_id(deployment_id uuid, org_id text, sequence integer) returns uuid
  language sql immutable strict parallel safe
  return overlay(overlay(left(encode(sha256(convert_to(deployment_id::text || '/' || sequence::text || '/' || org_id, 'UTF8')), 'hex'), 32)
    placing '8' from 13 for 1) placing '8' from 17 for 1)::uuid;

-- The most of an amount that Autumn and a JSON number both carry exactly, never more than the amount: at most 10 decimals
-- and at most 15 significant digits. For amounts >= 0.
create function settleable_credits(amount numeric) returns numeric
  language sql immutable strict parallel safe
  return trim_scale(trunc(amount, least(10, 15 - case when amount >= 1 then length(trunc(amount)::text) else 0 end)));

-- One row per organization that has ever spent. The row is the lock under which batches are sealed.
create table billing_accounts (
  org_id text primary key,
  -- what is owed but was below the precision of a settled amount; moves into the next batch
  carry_credits numeric not null default 0,
  last_batch_sequence integer not null default 0,
  created_at timestamptz not null default now()
);

-- State machine: services/src/billing/README.md. A batch is immutable but for its state and what it was answered.
create table settlement_batches (
  batch_id uuid primary key,
  org_id text not null references billing_accounts (org_id),
  sequence integer not null,
  -- sent as Autumn's idempotency key; derived from the batch id, so the same batch always has the same key. A redrive
  -- (an operator's decision) sends it under the next key of the row: the count is appended.
  idempotency_key text not null unique,
  redrive_count integer not null default 0,
  event_count integer not null,
  spend_usd numeric not null,
  -- exact: sum(events.credits) + carry_in = credits + carry_out
  events_credits numeric not null,
  carry_in numeric not null,
  carry_out numeric not null,
  credits numeric not null,
  state text not null default 'sealed'
    check (state in ('sealed', 'sending', 'unknown', 'delivered', 'unapplied', 'parked', 'dead')),
  sealed_at timestamptz not null default now(),
  -- claim: who may send it, until when; the token grows with each claim and fences a late answer out
  lease_token integer not null default 0,
  lease_until timestamptz,
  next_attempt_at timestamptz not null default now(),
  attempt_count integer not null default 0,
  -- start of the first attempt that may have been applied; Autumn remembers the key for 24 h from here. Null again when
  -- every attempt so far is known not to have been applied.
  first_sent_at timestamptz,
  -- `unknown` for longer than Autumn remembers the key: never sent again before it was compared with Autumn
  needs_reconcile boolean not null default false,
  delivered_at timestamptz,
  -- what the sink says it took; may differ from credits, then the state says why
  deducted_credits numeric,
  balance_after numeric,
  last_error_code text,
  last_error text,
  unique (org_id, sequence),
  check (events_credits + carry_in = credits + carry_out)
);
create index settlement_batches_due on settlement_batches (next_attempt_at) where state in ('sealed', 'sending', 'unknown', 'parked');
create index settlement_batches_unsettled on settlement_batches (org_id, state) where state <> 'delivered';

-- Every try to deliver a batch, kept for audits.
create table settlement_attempts (
  batch_id uuid not null references settlement_batches (batch_id),
  attempt integer not null,
  idempotency_key text not null,
  started_at timestamptz not null default now(),
  finished_at timestamptz,
  outcome text,
  status integer,
  error_code text,
  primary key (batch_id, attempt)
);

create table billing_events (
  event_id bigint generated always as identity primary key,
  -- 'llm:' + request id; the one guard against billing a spend row twice
  idempotency_key text not null unique,
  org_id text not null,
  event_type text not null default 'llm' check (event_type in ('llm')),
  request_id text not null,
  session_id text,
  key_hash text,
  model text not null,
  prompt_tokens integer not null,
  completion_tokens integer not null,
  spend_usd numeric not null,
  -- frozen at ingest: credits = spend_usd * markup * credits_per_usd
  markup numeric not null,
  credits_per_usd numeric not null,
  credits numeric not null check (credits = spend_usd * markup * credits_per_usd),
  occurred_at timestamptz not null,
  recorded_at timestamptz not null default now(),
  batch_id uuid references settlement_batches (batch_id)
);
create index billing_events_unsettled on billing_events (org_id) where batch_id is null;
create index billing_events_org_occurred on billing_events (org_id, occurred_at);
create index billing_events_session on billing_events (session_id);
create index billing_events_batch on billing_events (batch_id);

-- Spend rows that cannot be billed as they are: kept visible with a reason, never dropped, never in the others' way.
-- Settled by itself (`resolved_at`) once the source row was repaired and billed.
create table spend_reviews (
  -- 'id:' + request id, or 'row:' + a hash of the row where the id is unusable
  review_key text primary key,
  request_id text not null,
  reason text not null check (reason in ('no_org', 'no_request_id', 'bad_spend')),
  -- as the source spells it: what is wrong may be the amount itself
  spend_usd text not null,
  model text not null,
  occurred_at timestamptz not null,
  first_seen_at timestamptz not null default now(),
  resolved_at timestamptz
);
create index spend_reviews_open on spend_reviews (first_seen_at) where resolved_at is null;

-- When each of the worker's jobs last ran to its end, on whichever worker; what readiness is judged by.
create table worker_passes (
  job text primary key,
  succeeded_at timestamptz not null default now()
);

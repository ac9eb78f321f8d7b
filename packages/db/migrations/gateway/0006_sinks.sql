-- Settlement beyond one batch: whole orgs that wait, a sink that is away, what a second sink said, what comparing with the
-- sink found. Everything here but the corrections can be lost without a credit going wrong.

-- `shortfall`: taken in part, because the balance ended and the deployment chose to cap. deducted_credits says how much.
alter table settlement_batches drop constraint settlement_batches_state_check;
alter table settlement_batches add constraint settlement_batches_state_check
  check (state in ('sealed', 'sending', 'unknown', 'delivered', 'unapplied', 'parked', 'dead', 'shortfall'));

-- Comparing deliveries with the sink reads those of the last day or week out of years.
create index settlement_batches_first_sent on settlement_batches (first_sent_at);

-- An org whose last attempt failed: none of its batches is tried before retry_at, so that it costs the others nothing.
create table settlement_org_backoff (
  org_id text primary key references billing_accounts (org_id),
  failure_count integer not null,
  retry_at timestamptz not null,
  error_code text
);

-- A sink that fails for everybody: nothing is tried before retry_at, then one batch probes. No row: the circuit is closed.
create table settlement_circuits (
  sink text primary key,
  open_count integer not null,
  opened_at timestamptz not null,
  retry_at timestamptz not null,
  error_code text
);

-- Orgs whose usage is to be settled at once (a session ended). The worker takes the rows away; the regular pass covers a
-- row that was taken by a worker that died.
create table settlement_flush_requests (
  org_id text primary key,
  requested_at timestamptz not null
);

-- What a sink calls an org, where it is not the org's id: Stripe's cus_….
create table sink_customers (
  sink text not null,
  org_id text not null,
  customer_id text not null,
  primary key (sink, org_id),
  unique (sink, customer_id)
);

-- The last answer of the second sink to each batch, for the report of differences. Moves no state.
create table sink_shadow_results (
  batch_id uuid not null references settlement_batches (batch_id),
  sink text not null,
  idempotency_key text not null,
  -- of the sink that counts, and of the shadow
  primary_outcome text not null,
  primary_credits numeric,
  shadow_outcome text not null,
  shadow_credits numeric,
  shadow_code text,
  recorded_at timestamptz not null,
  primary key (batch_id, sink)
);

-- What a comparison with the sink found, until a later one finds it gone.
create table delivery_findings (
  batch_id uuid not null references settlement_batches (batch_id),
  kind text not null check (kind in ('double_charge', 'lost_deduction', 'wrong_amount', 'unresolved')),
  org_id text not null,
  expected_credits numeric not null,
  found_credits numeric,
  message text not null,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  resolved_at timestamptz,
  primary key (batch_id, kind)
);
create index delivery_findings_open on delivery_findings (org_id) where resolved_at is null;

-- Deductions and refunds that bring the sink to what the ledger says; the ledger itself was right. The n-th of a batch.
create table settlement_corrections (
  batch_id uuid not null references settlement_batches (batch_id),
  sequence integer not null,
  org_id text not null,
  idempotency_key text not null unique,
  -- to be taken; negative: given back
  credits numeric not null check (credits <> 0),
  state text not null check (state in ('sending', 'applied', 'refused')),
  created_at timestamptz not null,
  finished_at timestamptz,
  error_code text,
  primary key (batch_id, sequence)
);

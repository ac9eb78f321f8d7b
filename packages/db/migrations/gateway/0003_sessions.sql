-- Sessions that the gateway started; state machine: services/src/sessions/README.md.
-- The key itself is never stored; its hash joins the spend rows.
create table gateway_sessions (
  session_id text primary key,
  -- pages of a listing follow this: it never changes and no two rows share it
  session_number bigint generated always as identity unique,
  org_id text not null,
  user_id text,
  state text not null default 'starting' check (state in ('starting', 'active', 'ending', 'ended')),
  -- grows with every key that is about to be minted; a key whose generation has passed is never recorded
  key_generation integer not null default 1,
  model text not null,
  models text[] not null default '{}',
  key_hash text,
  key_alias text,
  max_budget_usd numeric,
  expires_at timestamptz,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  check (state <> 'active' or key_hash is not null),
  check ((state = 'ended') = (ended_at is not null))
);
create index gateway_sessions_org on gateway_sessions (org_id, session_number);

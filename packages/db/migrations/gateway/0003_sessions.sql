-- Sessions that the gateway started. The key itself is never stored; its hash joins the spend rows.
create table gateway_sessions (
  session_id text primary key,
  org_id text not null,
  user_id text,
  state text not null default 'active' check (state in ('active', 'ended')),
  model text not null,
  key_hash text,
  key_alias text,
  max_budget_usd numeric,
  expires_at timestamptz,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  ended_at timestamptz
);
create index gateway_sessions_org on gateway_sessions (org_id, created_at);

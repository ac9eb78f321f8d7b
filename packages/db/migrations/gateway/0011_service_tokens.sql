-- Bearer tokens of the gateway's API beside GATEWAY_API_TOKEN: limited to scopes and, if bound, to one organization.
-- A token itself is never stored; its SHA-256 finds the row.
create table service_tokens (
  token_id text primary key,
  name text not null,
  token_hash text not null unique,
  -- what it was before the last rotation, and until when that still works
  previous_hash text unique,
  previous_valid_until timestamptz,
  -- null: every organization
  org_id text,
  scopes text[] not null check (cardinality(scopes) > 0),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  -- to the minute
  last_used_at timestamptz
);

-- What was done to each token, and with which request; never changed.
create table service_token_audit (
  audit_id bigint generated always as identity primary key,
  token_id text not null references service_tokens (token_id),
  action text not null check (action in ('created', 'rotated', 'revoked')),
  request_id text not null,
  occurred_at timestamptz not null default clock_timestamp()
);
create index service_token_audit_token on service_token_audit (token_id, audit_id);

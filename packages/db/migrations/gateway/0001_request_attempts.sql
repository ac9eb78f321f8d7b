-- The proxy's own state: which process instances live, what they have in flight, what is reserved.
-- An attempt is on record before its request is forwarded and leaves in the transaction that writes its spend row,
-- so at every moment each request that may have reached a provider is in exactly one of the two tables.

-- A live proxy process holds a session advisory lock on its instance id; PostgreSQL drops it when the process dies,
-- so "is the owner dead?" needs no clock and no heartbeat.
create sequence proxy_instance_ids as integer;

create table request_attempts (
  attempt_id uuid primary key,
  instance_id integer not null,
  -- sha256 hex of the virtual key
  key_hash text not null,
  team_id text,
  user_id text,
  key_alias text,
  dialect text not null check (dialect in ('anthropic', 'openai')),
  call_type text not null,
  -- the name the caller asked for, the deployment's model, and its provider and price
  model_group text not null,
  model text not null,
  provider text not null,
  api_base text not null default '',
  price_id text not null,
  end_user text,
  client_session_id text,
  requester_ip_address text,
  reserved_usd numeric not null check (reserved_usd >= 0),
  -- estimate of the input, made from the request's size; replaced by the provider's own count as soon as it is seen
  estimated_input_tokens integer not null,
  -- usage seen so far on the stream (contract: services/src/metering/usage.ts); null until the provider answered
  checkpoint jsonb,
  started_at timestamptz not null default clock_timestamp(),
  checkpointed_at timestamptz
);
create index request_attempts_key_hash on request_attempts (key_hash);
create index request_attempts_instance_id on request_attempts (instance_id);

-- Exact counters behind every budget; LiteLLM's double columns mirror `spend_usd`. A row is made at the first admission.
-- Invariant: reserved_usd = sum(reserved_usd) of the scope's rows in request_attempts.
create table budget_counters (
  scope text not null check (scope in ('key', 'team')),
  scope_id text not null,
  spend_usd numeric not null default 0,
  reserved_usd numeric not null default 0 check (reserved_usd >= 0),
  primary key (scope, scope_id)
);

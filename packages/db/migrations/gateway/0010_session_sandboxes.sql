-- Sandboxes that the gateway launches for its sessions; state machine: services/src/sessions/README.md.
alter table gateway_sessions
  add column launcher text not null default 'none' check (launcher in ('none', 'local', 'modal')),
  add column sandbox_state text check (sandbox_state in ('launching', 'ready', 'pausing', 'paused', 'gone')),
  -- what was done last; tells a repair how far a launch or a pause came
  add column sandbox_step text,
  -- the gateway that is at it; it holds the process lock of this id as long as it lives
  add column sandbox_instance_id integer,
  add column sandbox_id text,
  add column agent_url text,
  add column snapshot_id text,
  add column repo_url text,
  -- by then the sandbox ends by itself, whatever happens here
  add column sandbox_expires_at timestamptz,
  -- spent by the session's older keys when the present one was minted
  add column spent_before_key_usd numeric not null default 0,
  add column failure_code text,
  add column failure_message text,
  add column changed_at timestamptz not null default now(),
  add check ((launcher = 'none') = (sandbox_state is null)),
  add check (state <> 'ended' or coalesce(sandbox_state, 'gone') = 'gone');
create index gateway_sessions_unfinished on gateway_sessions (sandbox_state, state) where state <> 'ended';

-- What a session went through, in order; served as a stream and kept with the session. Never a secret.
create table session_events (
  event_id bigint generated always as identity primary key,
  session_id text not null,
  type text not null,
  facts jsonb not null default '{}',
  occurred_at timestamptz not null default clock_timestamp()
);
create index session_events_session on session_events (session_id, event_id);

-- Requests that carried an idempotency key. The key is not stored: its hash finds the row, and only the key opens the answer.
create table session_requests (
  org_id text not null,
  key_hash text not null,
  body_hash text not null,
  session_id text not null,
  -- the gateway that works on it, until there is an answer
  instance_id integer not null,
  status integer,
  sealed_answer bytea,
  created_at timestamptz not null default now(),
  primary key (org_id, key_hash),
  check ((status is null) = (sealed_answer is null))
);

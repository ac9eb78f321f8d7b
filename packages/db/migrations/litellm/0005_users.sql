-- LiteLLM's table of users, as LiteLLM has it: what somebody is called, and what all keys with that user_id may use together. What is
-- enforced here are rows of the gateway's limits, which are written with it. "if not exists", as in the first.

create table if not exists "LiteLLM_UserTable" (
  user_id text primary key,
  user_alias text,
  team_id text,
  sso_user_id text,
  organization_id text,
  password text,
  teams text[] default '{}',
  user_role text,
  max_budget double precision,
  spend double precision not null default 0,
  user_email text,
  models text[],
  metadata jsonb not null default '{}',
  max_parallel_requests integer,
  tpm_limit bigint,
  rpm_limit bigint,
  budget_duration text,
  budget_reset_at timestamp(3),
  allowed_cache_controls text[] default '{}',
  model_spend jsonb not null default '{}',
  model_max_budget jsonb not null default '{}',
  created_at timestamp(3) default (now() at time zone 'utc'),
  updated_at timestamp(3) default (now() at time zone 'utc')
);
create unique index if not exists "LiteLLM_UserTable_sso_user_id_key" on "LiteLLM_UserTable" (sso_user_id);
create index if not exists "LiteLLM_UserTable_user_email_lower_idx" on "LiteLLM_UserTable" (lower(user_email));

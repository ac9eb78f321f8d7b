-- LiteLLM's own tables, as far as this product reads and writes them, with LiteLLM's column names, types and defaults
-- (facts/litellm.md 1.1, 1.2). "if not exists": a schema that stock LiteLLM migrated is left exactly as it is.
-- Conventions that readers must know: TIMESTAMP(3) holds UTC without a zone; team_id is '' where there is no team.

create table if not exists "LiteLLM_SpendLogs" (
  request_id text primary key,
  call_type text not null,
  api_key text not null default '',
  spend double precision not null default 0,
  total_tokens integer not null default 0,
  prompt_tokens integer not null default 0,
  completion_tokens integer not null default 0,
  "startTime" timestamp(3) not null,
  "endTime" timestamp(3) not null,
  request_duration_ms integer,
  "completionStartTime" timestamp(3),
  model text not null default '',
  model_id text default '',
  model_group text default '',
  custom_llm_provider text default '',
  api_base text default '',
  "user" text default '',
  metadata jsonb default '{}',
  cache_hit text default '',
  cache_key text default '',
  request_tags jsonb default '[]',
  team_id text,
  organization_id text,
  end_user text,
  requester_ip_address text,
  messages jsonb default '{}',
  response jsonb default '{}',
  proxy_server_request jsonb default '{}',
  session_id text,
  status text,
  mcp_namespaced_tool_name text,
  agent_id text,
  litellm_call_id text
);
create index if not exists "LiteLLM_SpendLogs_startTime_idx" on "LiteLLM_SpendLogs" ("startTime");
create index if not exists "LiteLLM_SpendLogs_startTime_request_id_idx" on "LiteLLM_SpendLogs" ("startTime", request_id);
create index if not exists "LiteLLM_SpendLogs_end_user_idx" on "LiteLLM_SpendLogs" (end_user);
create index if not exists "LiteLLM_SpendLogs_session_id_idx" on "LiteLLM_SpendLogs" (session_id);

create table if not exists "LiteLLM_VerificationToken" (
  token text primary key,
  key_name text,
  key_alias text,
  soft_budget_cooldown boolean not null default false,
  spend double precision not null default 0,
  expires timestamp(3),
  models text[] not null default '{}',
  aliases jsonb not null default '{}',
  config jsonb not null default '{}',
  user_id text,
  team_id text,
  permissions jsonb not null default '{}',
  max_parallel_requests integer,
  metadata jsonb not null default '{}',
  blocked boolean,
  tpm_limit bigint,
  rpm_limit bigint,
  max_budget double precision,
  budget_duration text,
  budget_reset_at timestamp(3),
  allowed_cache_controls text[] not null default '{}',
  allowed_routes text[] not null default '{}',
  model_spend jsonb not null default '{}',
  model_max_budget jsonb not null default '{}',
  budget_id text,
  organization_id text,
  object_permission_id text,
  created_at timestamp(3) default (now() at time zone 'utc'),
  created_by text,
  updated_at timestamp(3) default (now() at time zone 'utc'),
  updated_by text
);
create index if not exists "LiteLLM_VerificationToken_user_id_team_id_idx" on "LiteLLM_VerificationToken" (user_id, team_id);
create index if not exists "LiteLLM_VerificationToken_team_id_idx" on "LiteLLM_VerificationToken" (team_id);
create index if not exists "LiteLLM_VerificationToken_key_alias_idx" on "LiteLLM_VerificationToken" (key_alias);

create table if not exists "LiteLLM_TeamTable" (
  team_id text primary key,
  team_alias text,
  organization_id text,
  object_permission_id text,
  admins text[] not null default '{}',
  members text[] not null default '{}',
  members_with_roles jsonb not null default '{}',
  metadata jsonb not null default '{}',
  max_budget double precision,
  spend double precision not null default 0,
  models text[] not null default '{}',
  max_parallel_requests integer,
  tpm_limit bigint,
  rpm_limit bigint,
  budget_duration text,
  budget_reset_at timestamp(3),
  blocked boolean not null default false,
  created_at timestamp(3) not null default (now() at time zone 'utc'),
  updated_at timestamp(3) not null default (now() at time zone 'utc'),
  model_spend jsonb not null default '{}',
  model_max_budget jsonb not null default '{}',
  team_member_permissions text[] not null default '{}',
  model_id integer unique
);
create index if not exists "LiteLLM_TeamTable_team_alias_idx" on "LiteLLM_TeamTable" (team_alias);

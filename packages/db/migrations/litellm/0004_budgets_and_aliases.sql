-- More of LiteLLM's own tables and columns, as LiteLLM has them: budgets that keys share (and in which a key's soft budget stands),
-- the aliases of a team's models, a team's soft budget, and what a key was minted as. "if not exists", as in the first.

create table if not exists "LiteLLM_BudgetTable" (
  budget_id text primary key,
  max_budget double precision,
  soft_budget double precision,
  max_parallel_requests integer,
  tpm_limit bigint,
  rpm_limit bigint,
  model_max_budget jsonb,
  budget_duration text,
  budget_reset_at timestamp(3),
  allowed_models text[] default '{}',
  created_at timestamp(3) not null default (now() at time zone 'utc'),
  created_by text not null,
  updated_at timestamp(3) not null default (now() at time zone 'utc'),
  updated_by text not null
);

create table if not exists "LiteLLM_ModelTable" (
  id serial primary key,
  aliases jsonb,
  created_at timestamp(3) not null default (now() at time zone 'utc'),
  created_by text not null,
  updated_at timestamp(3) not null default (now() at time zone 'utc'),
  updated_by text not null
);

alter table "LiteLLM_TeamTable" add column if not exists soft_budget double precision;
alter table "LiteLLM_VerificationToken" add column if not exists key_type text;
create index if not exists llm_gateway_keys_of_budget on "LiteLLM_VerificationToken" (budget_id) where budget_id is not null;

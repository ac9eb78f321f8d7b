-- one statement at a time, outside of a transaction
-- Indexes for what is asked every few seconds of tables that only grow. Ours beside LiteLLM's own: names of our own, columns of
-- its. A build that broke off leaves an index that is no use; dropped first, so that this may be repeated.

-- What a session spent that has no event yet.
drop index concurrently if exists llm_gateway_spend_of_user;
create index concurrently llm_gateway_spend_of_user on "LiteLLM_SpendLogs" ("user", "startTime");

-- Budgets whose window has ended: of few keys and teams.
drop index concurrently if exists llm_gateway_key_resets;
create index concurrently llm_gateway_key_resets on "LiteLLM_VerificationToken" (budget_reset_at) where budget_duration is not null;
drop index concurrently if exists llm_gateway_team_resets;
create index concurrently llm_gateway_team_resets on "LiteLLM_TeamTable" (budget_reset_at) where budget_duration is not null;

-- Keys that expired long ago are deleted.
drop index concurrently if exists llm_gateway_key_expiry;
create index concurrently llm_gateway_key_expiry on "LiteLLM_VerificationToken" (expires) where expires is not null;

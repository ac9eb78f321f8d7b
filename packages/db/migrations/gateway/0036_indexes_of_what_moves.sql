-- one statement at a time, outside of a transaction
-- Orgs of which something is to be done, so that no look every few seconds goes through all of them.

drop index concurrently if exists billing_accounts_open;
create index concurrently billing_accounts_open on billing_accounts (org_id) where last_event_id > sealed_event_id;
drop index concurrently if exists billing_accounts_low;
create index concurrently billing_accounts_low on billing_accounts (org_id) where balance_credits < gate_low_credits;
drop index concurrently if exists billing_accounts_used_up;
create index concurrently billing_accounts_used_up on billing_accounts (org_id) where balance_credits <= 0 or balance_credits is null;
drop index concurrently if exists billing_accounts_moving;
create index concurrently billing_accounts_moving on billing_accounts (org_id)
  where may_gate_move(balance_credits, gate_state, gate_plan, gate_low_credits, gate_low_told, gate_overdraft_credits);
drop index concurrently if exists billing_accounts_without_gate;
create index concurrently billing_accounts_without_gate on billing_accounts (org_id) where gate_state is null;

drop index concurrently if exists org_gates_without_rate;
create index concurrently org_gates_without_rate on org_gates (org_id) where credits_per_spend_usd is null;
drop index concurrently if exists org_gates_wanted;
create index concurrently org_gates_wanted on org_gates (reconcile_wanted_at) where reconcile_wanted_at is not null;
drop index concurrently if exists org_gates_trials;
create index concurrently org_gates_trials on org_gates (remote_trial_ends_at) where remote_trial_ends_at > reconciled_at;

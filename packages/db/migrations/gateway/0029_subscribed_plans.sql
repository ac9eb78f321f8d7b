-- An org's plan comes from its subscription at the sink, where that knows of one; what is set by hand counts elsewhere.

alter table org_gates
  add column remote_plan_id text,
  add column remote_trial_ends_at timestamptz;
comment on column org_gates.remote_plan_id is 'The plan that the org subscribes to at the sink, as of the last reading; null: none, and `plan` is what was set by hand.';

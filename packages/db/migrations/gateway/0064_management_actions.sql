-- What was changed by the proxy's management API: who, from where, in which request, and what it was before and is now. A row is written in the
-- transaction of the change, and never changed; the worker deletes those of more than a year ago. What people decide about money stands in
-- operator_actions.
create table management_actions (
  action_id bigint generated always as identity primary key,
  -- 'POST /key/update' and the like
  action text not null,
  -- 'key', 'team', 'user', 'budget', 'limits' or 'tier', and its id; of a key the hash that it had first
  subject_kind text not null,
  subject text not null,
  -- 'proxy_admin' for the master key, or the user whose key it was; and for whom, in the words of the header litellm-changed-by
  operator text not null,
  changed_by text,
  remote_address text,
  request_id uuid not null,
  -- the fields that differ; null where there was, or is, nothing
  before jsonb,
  after jsonb,
  acted_at timestamptz not null default now()
);
create index management_actions_subject on management_actions (subject, action_id);
create index management_actions_time on management_actions (acted_at);
create trigger management_actions_kept before update on management_actions for each row execute function refuse_ledger_change();

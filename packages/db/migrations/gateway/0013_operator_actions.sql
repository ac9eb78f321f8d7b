-- What people decided by hand: who, why, on what. A row is written in the transaction of what it tells of, and never changed.
create table operator_actions (
  action_id bigint generated always as identity primary key,
  -- 'org.suspended', 'batch.decided' and the like
  action text not null,
  -- the id of what it was done to: an organization, a batch, a pack, a key's hash, a month
  subject text not null,
  org_id text,
  -- who did it, in their own words, and on which way it came: 'cli', or the token at the gateway
  operator text not null check (operator <> ''),
  via text not null,
  reason text,
  -- what it was before and is now
  facts jsonb not null default '{}',
  acted_at timestamptz not null default billing_now()
);
create index operator_actions_org on operator_actions (org_id, action_id);
create index operator_actions_subject on operator_actions (subject, action_id);
create trigger operator_actions_kept before update or delete on operator_actions for each row execute function refuse_ledger_change();

-- A policy can be removed; its packs stay on record, and go on to count.
alter table top_ups drop constraint top_ups_org_id_fkey;
alter table top_ups add constraint top_ups_org_id_fkey foreign key (org_id) references org_gates (org_id);

-- A tier: limits that many users have without each being given them. They stand in `limits` once, under the tier's name, and every user of the
-- tier counts for itself. Read where a request's limits are (packages/access/src/limits/counters-db.ts).
create table user_tiers (
  user_id text primary key check (octet_length(user_id) between 1 and 1000),
  tier text not null check (octet_length(tier) between 1 and 1000),
  updated_at timestamptz not null default now()
);

alter table limits
  drop constraint limits_principal_kind_check,
  add constraint limits_principal_kind_check check (principal_kind in ('payer', 'team', 'user', 'key', 'tier'));

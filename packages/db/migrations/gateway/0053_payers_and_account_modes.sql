-- Who pays for a team, and what becomes of what an account used. Prose: services/src/ledger/README.md.

-- Who is billed for a team's usage. A team without a row pays for itself. Read through payerOf (packages/access/src/principals/payers-db.ts)
-- and nowhere else. One step only: whoever pays for others pays for itself, so that asking twice is the same as asking once.
create table payers (
  team_id text collate "C" primary key check (octet_length(team_id) between 1 and 1000),
  org_id text not null check (octet_length(org_id) between 1 and 1000),
  created_at timestamptz not null default now(),
  check (org_id <> team_id)
);
create index payers_of_org on payers (org_id);

-- What becomes of an account's events: `settled` ones are sealed into batches and sent to the sink; `kept` ones stay on the ledger and go nowhere.
-- What a kept account uses never becomes open: ingest counts it in kept_credits and moves both ends of the open range. So there is
-- nothing to seal, to send, to be late or to compare, whoever looks; the check holds whatever statement forgets it.
alter table billing_accounts
  add column mode text not null default 'settled' check (mode in ('settled', 'kept')),
  -- what it used while it was kept; never sealed, also when the mode changes later
  add column kept_event_count bigint not null default 0,
  add column kept_credits numeric not null default 0,
  add constraint billing_accounts_kept_check
    check (mode = 'settled' or (sealed_event_id = last_event_id and open_event_count = 0 and open_credits = 0 and balance_credits is null));

-- The account's mode, written with it in one statement (writeMode in services/src/billing-gate/db.ts): so that the kept stand in none of
-- the indexes by which the sink is asked for balances. The account's is what counts.
alter table org_gates add column account_mode text not null default 'settled' check (account_mode in ('settled', 'kept'));

-- Whose balance was read when, and whose is used up or not known. A kept account has no balance, and nobody asks for one. Statistics are kept of the
-- condition as a whole: the planner would take the kept for such, as their balances are null, and read all accounts.
drop index org_gates_reconcile;
create index org_gates_reconcile on org_gates (reconciled_at nulls first) where account_mode = 'settled';
drop index billing_accounts_used_up;
create index billing_accounts_used_up on billing_accounts (org_id) where case mode when 'settled' then coalesce(balance_credits <= 0, true) else false end;
create statistics billing_accounts_used_up_share on (case mode when 'settled' then coalesce(balance_credits <= 0, true) else false end) from billing_accounts;
analyze billing_accounts;

-- Whoever empties the whole ledger (a test) leaves no key, nothing open and nothing kept.
create or replace function empty_event_keys() returns trigger language plpgsql set search_path from current as $$
begin
  truncate billing_event_keys;
  update billing_accounts set sealed_event_id = last_event_id, open_event_count = 0, open_credits = 0 where sealed_event_id < last_event_id;
  update billing_accounts set kept_event_count = 0, kept_credits = 0 where kept_event_count <> 0;
  return null;
end
$$;

-- As in 0012, with what is kept.
create or replace view billing_invariant as
  select org_id, source_credits, uncorrected_credits, ledger_credits, delivered, pending, parked, dead, unapplied, shortfall, carry,
    source_credits - uncorrected_credits - ledger_credits as difference, kept
  from (
    select org_id, coalesce(s.source_credits, 0) + coalesce(r.credits, 0) as source_credits, coalesce(s.uncorrected_credits, 0) as uncorrected_credits,
      coalesce(b.credits, 0) + coalesce(a.open_credits, 0) + coalesce(a.carry_credits, 0) + coalesce(a.kept_credits, 0) as ledger_credits,
      coalesce(b.delivered, 0) as delivered, coalesce(b.moving, 0) + coalesce(a.open_credits, 0) as pending, coalesce(b.parked, 0) as parked,
      coalesce(b.dead, 0) as dead, coalesce(b.unapplied, 0) as unapplied, coalesce(b.shortfall, 0) as shortfall, coalesce(a.carry_credits, 0) as carry,
      coalesce(a.kept_credits, 0) as kept
    from (
      select org_id, sum(credits) as credits,
        sum(case when state = 'delivered' then credits when state in ('unapplied', 'shortfall') then coalesce(deducted_credits, 0) end) as delivered,
        sum(credits) filter (where state in ('sealed', 'sending', 'unknown')) as moving,
        sum(credits) filter (where state = 'parked') as parked,
        sum(credits) filter (where state = 'dead') as dead,
        sum(credits - coalesce(deducted_credits, 0)) filter (where state = 'unapplied') as unapplied,
        sum(credits - coalesce(deducted_credits, 0)) filter (where state = 'shortfall') as shortfall
      from settlement_batches group by org_id
    ) b
    full join billing_accounts a using (org_id)
    full join billing_source_credits() s using (org_id)
    full join (select org_id, sum(credits) as credits from retired_event_sums group by org_id) r using (org_id)
  ) sums;

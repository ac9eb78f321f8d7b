-- What an org's gate makes of its balance, copied beside the balance: so that the few orgs whose gate has to move, or whose balance is
-- low, stand in an index instead of being looked for among all. The gate's row is what counts, and whoever acts looks at it; the copy
-- only says whose to look at. Locks are taken in the order org_gates, billing_accounts.
alter table billing_accounts
  -- null: it has no gate, or its gate was made in the same moment as the account; both are put right by the next look
  add column gate_state text,
  add column gate_plan text,
  add column gate_low_credits numeric,
  add column gate_low_told boolean,
  add column gate_overdraft_credits numeric;

update billing_accounts a
set gate_state = g.state, gate_plan = g.plan, gate_low_credits = g.low_balance_credits, gate_low_told = g.low_balance_told, gate_overdraft_credits = g.overdraft_credits
from org_gates g where g.org_id = a.org_id;

create function copy_gate_to_account() returns trigger language plpgsql set search_path from current as $$
begin
  update billing_accounts a
  set gate_state = new.state, gate_plan = new.plan, gate_low_credits = new.low_balance_credits, gate_low_told = new.low_balance_told, gate_overdraft_credits = new.overdraft_credits
  where a.org_id = new.org_id
    and (a.gate_state, a.gate_plan, a.gate_low_credits, a.gate_low_told, a.gate_overdraft_credits)
      is distinct from (new.state, new.plan, new.low_balance_credits, new.low_balance_told, new.overdraft_credits);
  return null;
end
$$;
create trigger org_gates_copied after insert or update of state, plan, low_balance_credits, low_balance_told, overdraft_credits on org_gates
  for each row execute function copy_gate_to_account();

-- Whoever empties the gates (a test) leaves no account with one.
create function forget_gates() returns trigger language plpgsql set search_path from current as $$
begin
  update billing_accounts set gate_state = null where gate_state is not null and org_id not in (select org_id from org_gates);
  return null;
end
$$;
create trigger org_gates_emptied after truncate or delete on org_gates for each statement execute function forget_gates();

-- Whether a gate may have to move, by the balance alone; one in grace may have to when its time is over, too.
create function may_gate_move(balance numeric, state text, plan text, low numeric, told boolean, overdraft numeric) returns boolean
  language sql immutable parallel safe as $$
  select balance is not null and (
    told <> (balance < low)
    or state <> 'suspended' and case
      when balance > 0 then state <> case plan when 'trial' then 'trial' else 'active' end
      when state = 'grace' then true
      else state <> 'exhausted'
    end)
$$;

-- The rate cards and the rate of the configuration that the gates' rates were last brought up to.
alter table billing_deployment add column rates_seen numeric;

-- What all accounts carry, moved in the statement that moves a carry: it is told with each scrape of the metrics, and sealing alone moves it.
create table billing_totals (
  singleton boolean primary key default true check (singleton),
  carry_credits numeric not null default 0
) with (fillfactor = 50);
insert into billing_totals (carry_credits) select coalesce(sum(carry_credits), 0) from billing_accounts;

create function count_carry() returns trigger language plpgsql set search_path from current as $$
declare
  moved numeric;
begin
  if tg_op = 'UPDATE' then
    moved := (select sum(carry_credits) from new_accounts) - (select sum(carry_credits) from old_accounts);
  elsif tg_op = 'INSERT' then
    moved := (select sum(carry_credits) from new_accounts);
  else
    moved := -(select sum(carry_credits) from old_accounts);
  end if;
  if moved <> 0 then
    update billing_totals set carry_credits = carry_credits + moved;
  end if;
  return null;
end
$$;
create trigger billing_accounts_carried_update after update on billing_accounts
  referencing old table as old_accounts new table as new_accounts for each statement execute function count_carry();
create trigger billing_accounts_carried_insert after insert on billing_accounts
  referencing new table as new_accounts for each statement execute function count_carry();
create trigger billing_accounts_carried_delete after delete on billing_accounts
  referencing old table as old_accounts for each statement execute function count_carry();

-- Whoever empties the accounts (a test) carries nothing.
create function forget_carry() returns trigger language plpgsql set search_path from current as $$
begin
  update billing_totals set carry_credits = 0;
  return null;
end
$$;
create trigger billing_accounts_emptied after truncate on billing_accounts for each statement execute function forget_carry();

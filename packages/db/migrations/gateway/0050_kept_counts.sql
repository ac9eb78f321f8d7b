-- How many batches are under way, and how many gates there are in each state: told with each scrape of the metrics, so not counted each
-- time. Each statement that changes a count appends by how much, and locks nothing: a count is the sum of its rows, exact at every
-- moment, and nobody waits for anybody. Now and then what was appended is made one row again.
create table kept_counts (
  move_id bigint generated always as identity primary key,
  -- 'batches': neither delivered nor shortfall (those are counted by the day); 'gates': all of them
  subject text not null,
  state text not null,
  needs_reconcile boolean not null default false,
  count bigint not null,
  credits numeric not null default 0,
  -- what the sink has not taken of the credits
  unposted_credits numeric not null default 0
);

create function count_batches_under_way() returns trigger language plpgsql set search_path from current as $$
begin
  if tg_op = 'INSERT' then
    insert into kept_counts (subject, state, needs_reconcile, count, credits, unposted_credits)
    select 'batches', state, needs_reconcile, count(*), sum(credits), sum(credits - coalesce(deducted_credits, 0))
    from new_batches where state not in ('delivered', 'shortfall') group by state, needs_reconcile;
  else
    insert into kept_counts (subject, state, needs_reconcile, count, credits, unposted_credits)
    select 'batches', state, needs_reconcile, sum(count), sum(credits), sum(unposted_credits) from (
      select state, needs_reconcile, 1 as count, credits, credits - coalesce(deducted_credits, 0) as unposted_credits from new_batches
      union all
      select state, needs_reconcile, -1, -credits, coalesce(deducted_credits, 0) - credits from old_batches
    ) moved
    where state not in ('delivered', 'shortfall') group by state, needs_reconcile
    having sum(count) <> 0 or sum(credits) <> 0 or sum(unposted_credits) <> 0;
  end if;
  return null;
end
$$;
create trigger settlement_batches_under_way_insert after insert on settlement_batches
  referencing new table as new_batches for each statement execute function count_batches_under_way();
create trigger settlement_batches_under_way_update after update on settlement_batches
  referencing old table as old_batches new table as new_batches for each statement execute function count_batches_under_way();

create function count_gate() returns trigger language plpgsql set search_path from current as $$
begin
  if tg_op <> 'INSERT' then
    insert into kept_counts (subject, state, count) values ('gates', old.state, -1);
  end if;
  if tg_op <> 'DELETE' then
    insert into kept_counts (subject, state, count) values ('gates', new.state, 1);
  end if;
  return null;
end
$$;
create trigger org_gates_counted after insert or delete on org_gates for each row execute function count_gate();
create trigger org_gates_counted_move after update of state on org_gates for each row
  when (old.state is distinct from new.state) execute function count_gate();

-- Whoever empties a table (a test) empties its counts.
create function forget_counts() returns trigger language plpgsql set search_path from current as $$
begin
  delete from kept_counts where subject = tg_argv[0];
  return null;
end
$$;
create trigger settlement_batches_forgotten after truncate on settlement_batches for each statement execute function forget_counts('batches');
create trigger org_gates_forgotten after truncate on org_gates for each statement execute function forget_counts('gates');

-- The triggers have locked both tables against writers, so nothing comes between.
insert into kept_counts (subject, state, needs_reconcile, count, credits, unposted_credits)
select 'batches', state, needs_reconcile, count(*), sum(credits), sum(credits - coalesce(deducted_credits, 0))
from settlement_batches where state <> 'delivered' and state <> 'shortfall' group by state, needs_reconcile;
insert into kept_counts (subject, state, count) select 'gates', state, count(*) from org_gates group by state;

-- What the real Autumn was seen to do: it states and keeps 14 significant digits; what is short is final; and its list of
-- events and its balances may disagree, so that a correction needs both.

-- As in 0002, with 14 significant digits instead of 15: more of them came back rounded, and a delivery in full looked like
-- one of another amount. What does not fit is carried into the next batch.
create or replace function settleable_credits(amount numeric) returns numeric
  language sql immutable strict parallel safe
  return trim_scale(trunc(amount, least(10, 14 - case when amount >= 1 then length(trunc(amount)::text) else 0 end)));

-- As in 0012, without shortfalls: what a capped balance did not cover is never collected, so it is not owed either. The
-- statement that records a shortfall gives it back to the org's own balance; what was short before is given back here.
create or replace view billing_unposted as
  select a.org_id,
    a.carry_credits + a.open_credits
      + coalesce((select sum(b.credits - coalesce(b.deducted_credits, 0)) from settlement_batches b
          where b.org_id = a.org_id and b.state not in ('delivered', 'shortfall') and not (b.first_sent_at is not null and b.deducted_credits is null)), 0) as certain_credits,
    coalesce((select sum(b.credits) from settlement_batches b
      where b.org_id = a.org_id and b.state not in ('delivered', 'shortfall') and b.first_sent_at is not null and b.deducted_credits is null), 0) as uncertain_credits
  from billing_accounts a;

update billing_accounts a set balance_credits = a.balance_credits + s.credits
from (select org_id, sum(credits - coalesce(deducted_credits, 0)) as credits from settlement_batches where state = 'shortfall' group by org_id) s
where s.org_id = a.org_id and a.balance_credits is not null;

-- How far the sink's own sum of an org's usage is from what its record of single deductions adds up to, when nothing else was
-- amiss: plans that began anew, packs that were used up, deductions that were not ours. A difference in the record counts
-- only where this figure did not move with it.
create table delivery_baselines (
  org_id text collate "C" primary key references billing_accounts (org_id),
  usage_offset numeric not null,
  -- what our books say of all batches up to this one, which are settled for good: they are never added up again
  through_sequence integer not null,
  through_credits numeric not null,
  compared_at timestamptz not null
);

-- Set when a person looked at the sink and closed the finding: it stays closed for as long as the sink's record says the same.
alter table delivery_findings add column decided_at timestamptz;

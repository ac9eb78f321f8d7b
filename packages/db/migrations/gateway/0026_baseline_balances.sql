-- Which balances the sum of usage was of: one of other balances cannot tell that something was not taken. Empty: not noted yet.
alter table delivery_baselines add column balance_ids text not null default '';

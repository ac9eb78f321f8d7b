-- Autumn does not take a debt from credits that come later: what it let go of is named, not alarmed about.

alter table org_gates add column remote_forgiven_credits numeric not null default 0;
comment on column org_gates.remote_forgiven_credits is 'Of an overdraft, what the sink had let go of at the last reading.';

alter table balance_reconciliations add column forgiven_credits numeric not null default 0;
alter table balance_reconciliations drop constraint balance_reconciliations_cause_check;
alter table balance_reconciliations add constraint balance_reconciliations_cause_check
  check (cause in ('first_sight', 'agrees', 'grant', 'debt_forgiven', 'period_reset', 'sink_took_more', 'sink_took_less'));

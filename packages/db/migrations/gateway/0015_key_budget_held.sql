-- What a key may have spent before its budget was cut, and the ledger does not know yet: reserved until it does.
alter table key_reservations add column held_usd numeric not null default 0 check (held_usd >= 0);

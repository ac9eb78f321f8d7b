-- A worker that tells the proxy a key's budget says so before, so that of two workers one tells, and whatever a third decides
-- meanwhile counts the figure that may just be coming into force.
alter table key_reservations
  -- null: nothing is being told, and nothing was told without its end being seen
  add column telling_usd numeric check (telling_usd >= 0),
  -- who claimed the key tells until then at most; later another may
  add column telling_until timestamptz,
  -- grows with each claim; an older claim ends nothing
  add column telling_token integer not null default 0;

-- What a key may have spent before its budget was cut, and the ledger does not know yet: reserved until it does.
alter table key_reservations add column held_usd numeric not null default 0 check (held_usd >= 0);

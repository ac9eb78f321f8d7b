-- How a request without limits of its own moves the budgets of its key and team. Two functions, called by the statement of an admission and
-- that of a settlement (packages/access/src/requests): each locks and moves counters by small statements of its own, which see what the
-- one before them in the queue has left. Within the large statement, whoever had waited for a counter would set up all of that
-- statement once more for each row that had changed meanwhile, which is every row of a busy key.

-- Whether LiteLLM's column says something else than our counter, by more than its float can have lost: then somebody else spent, or
-- started the budget again. Null where there is no column.
create function is_foreign_spend(column_usd numeric, used numeric) returns boolean language sql immutable return
  abs(column_usd - used) > 0.000000001 * greatest(column_usd, used) + 0.000000000001;

-- What was used by a counter, or by LiteLLM's column of the same budget where another engine has written more into that.
create function used_of_budget(used numeric, column_usd numeric) returns numeric language sql immutable return
  case when column_usd > used and is_foreign_spend(column_usd, used) then column_usd else used end;

-- Whether a budget has room for a request that takes `least_usd` at least. Something must be left even for one that costs nothing.
create function has_room(max_usd numeric, used numeric, reserved numeric, least_usd numeric) returns boolean language sql immutable return
  max_usd is null or (max_usd > used + reserved and least_usd <= max_usd - used - reserved);

-- Reserves `most_usd` in the budgets of a key and, where it has one, its team, if both have room. Then what was used of the key's, what is reserved
-- there, this included, and the same two of the team; null, and nothing changed, where one has no room or its counter does not exist.
create function reserve_in_budgets(key_hash text, team text, key_max_usd numeric, team_max_usd numeric,
    key_column_usd numeric, team_column_usd numeric, least_usd numeric, most_usd numeric)
  returns numeric[] language plpgsql volatile as $$
declare
  key_used numeric;
  key_reserved numeric;
  team_used numeric;
  team_reserved numeric;
begin
  update limit_counters c set reserved = c.reserved + most_usd
   where c.principal_kind = 'key' and c.principal_id = key_hash and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity'
     and has_room(key_max_usd, used_of_budget(c.used, key_column_usd), c.reserved, least_usd)
  returning used_of_budget(c.used, key_column_usd), c.reserved into key_used, key_reserved;
  if not found then
    return null;
  end if;
  if team is not null then
    update limit_counters c set reserved = c.reserved + most_usd
     where c.principal_kind = 'team' and c.principal_id = team and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity'
       and has_room(team_max_usd, used_of_budget(c.used, team_column_usd), c.reserved, least_usd)
    returning used_of_budget(c.used, team_column_usd), c.reserved into team_used, team_reserved;
    if not found then
      -- Nobody has seen it: the row is locked until this is over.
      update limit_counters c set reserved = c.reserved - most_usd
       where c.principal_kind = 'key' and c.principal_id = key_hash and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity';
      return null;
    end if;
  end if;
  return array[key_used, key_reserved, team_used, team_reserved];
end
$$;

-- Counts `taken_usd` in the budgets of a key and its team, and in LiteLLM's own columns, and gives back what was reserved. A counter or a
-- row that is gone stays so. Always true, so that a statement cannot pass it over.
create function settle_in_budgets(key_hash text, team text, taken_usd numeric, reserved_usd numeric) returns boolean
  language plpgsql volatile as $$
begin
  update limit_counters c set used = c.used + taken_usd, reserved = c.reserved - reserved_usd
   where c.principal_kind = 'key' and c.principal_id = key_hash and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity';
  if team is not null then
    update limit_counters c set used = c.used + taken_usd, reserved = c.reserved - reserved_usd
     where c.principal_kind = 'team' and c.principal_id = team and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity';
  end if;
  update "LiteLLM_VerificationToken" k set spend = k.spend + taken_usd::float8 where k.token = key_hash;
  if team is not null then
    update "LiteLLM_TeamTable" t set spend = t.spend + taken_usd::float8 where t.team_id = team;
  end if;
  return true;
end
$$;

-- A key that is regenerated stays one key: its counters, limits, requests, spend rows and sessions go by its id, which is the SHA-256 of the
-- first secret that it had. Here are the hashes of the keys that were regenerated, from the first on; a key that never was is its own id.
-- `packages/access/src/keys/key-hashes-db.ts` has the statements.
create table key_hashes (
  key_hash text primary key,
  key_id text not null,
  is_current boolean not null
);
create index key_hashes_of_a_key on key_hashes (key_id);
create unique index key_hashes_current on key_hashes (key_id) where is_current;

-- Counts `taken_usd` in LiteLLM's column of the key with this id, whatever hash it has by then: a hash that somebody changed while this waited for
-- the row is looked up anew. Nothing where the key is gone.
create function add_key_spend(id text, taken_usd double precision) returns boolean language plpgsql volatile as $$
declare
  hash_then text := id;
  hash_now text;
begin
  loop
    update "LiteLLM_VerificationToken" k set spend = k.spend + taken_usd where k.token = hash_then;
    exit when found;
    select h.key_hash into hash_now from key_hashes h where h.key_id = id and h.is_current;
    exit when hash_now is null or hash_now = hash_then;
    hash_then := hash_now;
  end loop;
  return true;
end
$$;

-- As in 0058, with what counts for keys that were regenerated; `key_hash` is the id of the key.
create or replace function settle_in_budgets(key_hash text, team text, taken_usd numeric, reserved_usd numeric) returns boolean
  language plpgsql volatile as $$
begin
  update limit_counters c set used = c.used + taken_usd, reserved = c.reserved - reserved_usd
   where c.principal_kind = 'key' and c.principal_id = key_hash and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity';
  if team is not null then
    update limit_counters c set used = c.used + taken_usd, reserved = c.reserved - reserved_usd
     where c.principal_kind = 'team' and c.principal_id = team and c.meter = 'usd' and c.limit_window = 'total' and c.model = '' and c.window_start = '-infinity';
  end if;
  update "LiteLLM_VerificationToken" k set spend = k.spend + taken_usd::float8 where k.token = key_hash;
  if not found then
    perform add_key_spend(key_hash, taken_usd::float8);
  end if;
  if team is not null then
    update "LiteLLM_TeamTable" t set spend = t.spend + taken_usd::float8 where t.team_id = team;
  end if;
  return true;
end
$$;

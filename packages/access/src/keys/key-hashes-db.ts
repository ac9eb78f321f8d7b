import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";

/**
 * Statements on `key_hashes`: which hashes a key has had. A key that is regenerated stays one key. Its counters, limits, requests, spend rows
 * and sessions go by its id, the hash that it had first; LiteLLM's table has it by the hash that it has now. A key that never was
 * regenerated stands here not at all, and is its own id. The rows live as long as the key.
 *
 * Example: a key was minted as A, regenerated to B and to C:
 *
 * | key_hash | key_id | is_current |
 * |---|---|---|
 * | A | A | false |
 * | B | A | false |
 * | C | A | true |
 */

/** SQL: the hash by which LiteLLM's table has the key that has or had the hash. */
export function currentHashOf(hash: string | RawBuilder<unknown>): RawBuilder<string> {
  return sql`coalesce((
    select now.key_hash from key_hashes of_hash join key_hashes now on now.key_id = of_hash.key_id and now.is_current
     where of_hash.key_hash = ${hash}), ${hash})`;
}

/** The id of the key that has or had the hash; the hash itself where there is no such key. */
export async function readKeyId(db: DatabaseExecutor, hash: string): Promise<string> {
  const { rows } = await sql<{ id: string }>`select key_id as id from key_hashes where key_hash = ${hash}`.execute(db);
  return rows[0]?.id ?? hash;
}

/** The ids of the keys that have or had these hashes, as {@link readKeyId} says it of one, in their order. */
export async function readKeyIds(db: DatabaseExecutor, hashes: readonly string[]): Promise<readonly string[]> {
  if (hashes.length === 0) return [];
  const { rows } = await sql<{ id: string }>`
    select coalesce(h.key_id, named.hash) as id from unnest(${[...hashes]}::text[]) with ordinality as named (hash, at)
      left join key_hashes h on h.key_hash = named.hash order by named.at`.execute(db);
  return rows.map(({ id }) => id);
}

/** The hashes by which LiteLLM's table has the keys with these ids, by id; of one that was never regenerated there is none. */
export async function readCurrentHashes(db: DatabaseExecutor, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { rows } = await sql<{ hash: string; id: string }>`
    select key_hash as hash, key_id as id from key_hashes where key_id = any(${[...ids]}::text[]) and is_current`.execute(db);
  return new Map(rows.map(({ hash, id }) => [id, hash]));
}

/**
 * Within a transaction: until its end, nobody else changes, regenerates or deletes the keys that have or had these hashes, or one of these aliases.
 * Before anything else is locked; several are locked in one order.
 */
export async function lockKeys(tx: DatabaseExecutor, hashes: readonly string[], aliases: readonly string[] = []): Promise<void> {
  await sql`
    with named as (
      select hash from unnest(${[...hashes]}::text[]) as hash
      union
      select token from "LiteLLM_VerificationToken" where key_alias = any(${[...aliases]}::text[])
    ), locks as materialized (
      select distinct hashtextextended('key:' || coalesce(h.key_id, n.hash), 0) as lock from named n left join key_hashes h on h.key_hash = n.hash order by 1
    )
    select pg_advisory_xact_lock(lock) from locks`.execute(tx);
}

/** Notes that the key has another hash from now on; what it had is its own for good. */
export async function writeCurrentHash(
  tx: DatabaseExecutor,
  { keyId, formerHash, newHash }: { readonly keyId: string; readonly formerHash: string; readonly newHash: string },
): Promise<void> {
  await sql`
    insert into key_hashes (key_hash, key_id, is_current) values (${formerHash}, ${keyId}, false)
    on conflict (key_hash) do update set is_current = false`.execute(tx);
  await sql`insert into key_hashes (key_hash, key_id, is_current) values (${newHash}, ${keyId}, true)`.execute(tx);
}

/**
 * Lets the former key be used for `grace` more, an interval; where it is null neither that one nor any before it is used any more. Those before whose
 * grace has not ended lead to the new key as well.
 */
export async function writeGrace(
  tx: DatabaseExecutor,
  { formerHash, newHash, grace }: { readonly formerHash: string; readonly newHash: string; readonly grace: string | null },
): Promise<void> {
  if (grace === null) {
    await sql`delete from "LiteLLM_DeprecatedVerificationToken" where active_token_id = ${formerHash}`.execute(tx);
    return;
  }
  await sql`
    delete from "LiteLLM_DeprecatedVerificationToken" where id in (
      select id from "LiteLLM_DeprecatedVerificationToken" where revoke_at <= clock_timestamp() at time zone 'utc' order by revoke_at limit 100 for update skip locked
    )`.execute(tx);
  await sql`update "LiteLLM_DeprecatedVerificationToken" set active_token_id = ${newHash} where active_token_id = ${formerHash}`.execute(
    tx,
  );
  await sql`
    insert into "LiteLLM_DeprecatedVerificationToken" (id, token, active_token_id, revoke_at)
    values (gen_random_uuid()::text, ${formerHash}, ${newHash}, (clock_timestamp() at time zone 'utc' + ${grace}::interval)::timestamp(3))
    on conflict (token) do update set active_token_id = excluded.active_token_id, revoke_at = excluded.revoke_at`.execute(tx);
}

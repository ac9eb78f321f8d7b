import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { type KeyRow, withLists } from "./db.ts";
import { readCurrentHashes } from "./key-hashes-db.ts";

/** Statements that show several keys at once. */

/** What may be shown of the keys that exist among these, by the ids that stand in spend rows. */
export async function findKeyNames(
  db: DatabaseExecutor,
  ids: readonly string[],
): Promise<ReadonlyMap<string, { readonly keyAlias: string | null; readonly keyName: string | null }>> {
  const current = await readCurrentHashes(db, ids);
  const { rows } = await sql<{ token: string; keyAlias: string | null; keyName: string | null }>`
    select token, key_alias as "keyAlias", key_name as "keyName" from "LiteLLM_VerificationToken"
     where token = any(${ids.map((id) => current.get(id) ?? id)}::text[])`.execute(db);
  const names = new Map(rows.map(({ token, ...shown }) => [token, shown]));
  return new Map(
    ids.flatMap((id) => {
      const shown = names.get(current.get(id) ?? id);
      return shown === undefined ? [] : [[id, shown] as const];
    }),
  );
}

/** The keys that exist among these hashes, which they have or had, in no order. */
export async function findKeys(db: DatabaseExecutor, hashes: readonly string[]): Promise<readonly KeyRow[]> {
  const rows = await db
    .selectFrom("LiteLLM_VerificationToken")
    .selectAll()
    .where(
      "token",
      "in",
      sql<string>`(
      select hash from unnest(${[...hashes]}::text[]) as hash
      union select now.key_hash from key_hashes h join key_hashes now on now.key_id = h.key_id and now.is_current where h.key_hash = any(${[...hashes]}::text[]))`,
    )
    .execute();
  return rows.map((row) => withLists(row));
}

/** Aliases of keys, in their order, of one team if it is named; `page` counts from 1. */
export async function listKeyAliases(
  db: DatabaseExecutor,
  { teamId, search }: { readonly teamId?: string | undefined; readonly search?: string | undefined },
  page: number,
  size: number,
): Promise<{ readonly aliases: readonly string[]; readonly total: number }> {
  let matching = db.selectFrom("LiteLLM_VerificationToken").where("key_alias", "is not", null);
  if (teamId !== undefined) matching = matching.where("team_id", "=", teamId);
  if (search !== undefined) matching = matching.where(sql<boolean>`position(lower(${search}) in lower(key_alias)) > 0`);
  const { total } = await matching.select(sql<string>`count(*)`.as("total")).executeTakeFirstOrThrow();
  const rows = await matching
    .select(sql<string>`key_alias`.as("alias"))
    .orderBy("key_alias")
    .limit(size)
    .offset((page - 1) * size)
    .execute();
  return { aliases: rows.map(({ alias }) => alias), total: Number(total) };
}

/** Whose keys are meant. */
export type KeysOwner = readonly ["team_id" | "user_id", string];

/** The hashes of a team's or a user's keys, in no order, `limit` at most. */
export async function listKeyHashes(db: DatabaseExecutor, [column, id]: KeysOwner, limit: number): Promise<readonly string[]> {
  const rows = await db.selectFrom("LiteLLM_VerificationToken").select("token").where(column, "=", id).limit(limit).execute();
  return rows.map(({ token }) => token);
}

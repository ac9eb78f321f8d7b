import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";

/** Statements on `user_tiers`: whose limits a user has beside its own. A change holds for the next request of any process. */

/** The tier of the user that a column names; null where there is none. */
export function tierOf(userColumn: string): RawBuilder<string | null> {
  return sql`(select u.tier from user_tiers u where u.user_id = nullif(${sql.ref(userColumn)}, ''))`;
}

/** Puts users into a tier, or, where it is null, into none. Idempotent; what they have used stays counted. */
export async function writeTier(db: DatabaseExecutor, userIds: readonly string[], tier: string | null): Promise<void> {
  // In one order, so that two that change the same users do not wait for each other in a circle.
  const ids = [...new Set(userIds)].toSorted();
  await (
    tier === null
      ? sql`delete from user_tiers where user_id = any(${ids}::text[])`
      : sql`
        insert into user_tiers (user_id, tier) select unnest(${ids}::text[]), ${tier}
        on conflict (user_id) do update set tier = excluded.tier, updated_at = now()`
  ).execute(db);
}

/** The tier of each of these users that has one. */
export async function readTiers(db: DatabaseExecutor, userIds: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { rows } = await sql<{ user_id: string; tier: string }>`
    select user_id, tier from user_tiers where user_id = any(${[...userIds]}::text[])`.execute(db);
  return new Map(rows.map((row) => [row.user_id, row.tier]));
}

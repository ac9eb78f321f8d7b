import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { type TeamRow, withLists } from "./db.ts";

/** Statements that show several teams at once. */

/** Which teams are meant: all of what is given must hold. */
interface TeamFilter {
  readonly teamId?: string | undefined;
  /** A part of its alias, in any case. */
  readonly aliasPart?: string | undefined;
  /** Who is a member of it. */
  readonly memberId?: string | undefined;
}

/** A row with how many keys the team has. */
type CountedTeam = TeamRow & { readonly keys_count: number };

/** One page; `page` counts from 1. Ties are ordered by id, so that pages do not overlap. Keys are counted for the page alone. */
export async function listTeamPage(
  db: DatabaseExecutor,
  filter: TeamFilter,
  order: { readonly column: "team_id" | "team_alias" | "created_at"; readonly direction: "asc" | "desc" },
  paging: { readonly page: number; readonly size: number },
): Promise<{ readonly rows: readonly CountedTeam[]; readonly total: number }> {
  let matching = db.selectFrom("LiteLLM_TeamTable as t");
  if (filter.teamId !== undefined) matching = matching.where("t.team_id", "=", filter.teamId);
  if (filter.aliasPart !== undefined)
    matching = matching.where(sql<boolean>`position(lower(${filter.aliasPart}) in lower(t.team_alias)) > 0`);
  if (filter.memberId !== undefined)
    matching = matching.where(sql<boolean>`t.members_with_roles @> ${JSON.stringify([{ user_id: filter.memberId }])}::jsonb`);
  const { total } = await matching.select(sql<string>`count(*)`.as("total")).executeTakeFirstOrThrow();
  const rows = await matching
    .selectAll("t")
    .select(sql<string>`(select count(*) from "LiteLLM_VerificationToken" k where k.team_id = t.team_id)`.as("keys_count"))
    .orderBy(`t.${order.column}`, order.direction)
    .orderBy("t.team_id", order.direction)
    .limit(paging.size)
    .offset((paging.page - 1) * paging.size)
    .execute();
  return {
    rows: rows.map(({ keys_count: keys, ...row }) => ({ ...withLists(row as TeamRow), keys_count: Number(keys) })),
    total: Number(total),
  };
}

import type { DatabaseExecutor, TeamTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import type { Selectable } from "kysely";

/** Every statement on LiteLLM's team table. */

export type TeamRow = Selectable<TeamTable>;

export interface NewTeam {
  readonly teamId: string;
  readonly teamAlias: string | null;
  readonly maxBudgetUsd: DecimalText | null;
  readonly budgetDuration: string | null;
  readonly models: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tpmLimit: number | null;
  readonly rpmLimit: number | null;
  readonly blocked: boolean;
  /** Becomes the team's first member, as an admin. */
  readonly createdBy: string;
}

/** Inserts a team; undefined when the id exists, which is then untouched. */
export async function insertTeam(db: DatabaseExecutor, team: NewTeam): Promise<TeamRow | undefined> {
  return db
    .insertInto("LiteLLM_TeamTable")
    .values({
      team_id: team.teamId,
      team_alias: team.teamAlias,
      max_budget: team.maxBudgetUsd,
      budget_duration: team.budgetDuration,
      models: [...team.models],
      metadata: JSON.stringify(team.metadata),
      members_with_roles: JSON.stringify([{ role: "admin", user_id: team.createdBy, user_email: null }]),
      tpm_limit: team.tpmLimit,
      rpm_limit: team.rpmLimit,
      blocked: team.blocked,
    })
    .onConflict((conflict) => conflict.column("team_id").doNothing())
    .returningAll()
    .executeTakeFirst();
}

export async function findTeam(db: DatabaseExecutor, teamId: string): Promise<TeamRow | undefined> {
  return db.selectFrom("LiteLLM_TeamTable").selectAll().where("team_id", "=", teamId).executeTakeFirst();
}

/** Newest first, `limit` at most. */
export async function listTeams(db: DatabaseExecutor, limit: number): Promise<readonly TeamRow[]> {
  return db.selectFrom("LiteLLM_TeamTable").selectAll().orderBy("created_at", "desc").orderBy("team_id").limit(limit).execute();
}

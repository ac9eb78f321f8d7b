import type { DatabaseExecutor, TeamTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";
import type { DueBudget } from "../limits/index.ts";

/** Every statement on LiteLLM's team table. Its lists may be NULL there, which is an empty one, to LiteLLM and here. */

export type TeamRow = Selectable<TeamTable>;

const NO_LISTS = { admins: [] as string[], members: [] as string[], team_member_permissions: [] as string[] };
const LISTS = ["admins", "members", "team_member_permissions", "models"] as const satisfies readonly (keyof TeamRow)[];

function withLists<Row extends TeamRow | undefined>(row: Row): Row {
  if (row === undefined) return row;
  return { ...row, ...Object.fromEntries(LISTS.map((name) => [name, row[name] ?? []])) };
}

interface NewTeam {
  readonly teamId: string;
  readonly teamAlias: string | null;
  readonly maxBudgetUsd: DecimalText | null;
  readonly budgetDuration: string | null;
  readonly budgetResetAt: Date | null;
  readonly models: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Tokens and requests a minute, and requests at one time. Default: no limit. */
  readonly tpmLimit?: number | null;
  readonly rpmLimit?: number | null;
  readonly maxParallelRequests?: number | null;
  /** USD by model, as LiteLLM writes it. */
  readonly modelMaxBudget?: Readonly<Record<string, unknown>>;
  /** What callers of the team call models. Default: nothing of their own. */
  readonly modelAliases?: Readonly<Record<string, string>>;
  readonly softBudgetUsd?: DecimalText | null;
  readonly blocked: boolean;
  /** Becomes the team's first member, as an admin. */
  readonly createdBy: string;
}

/** Inserts a team with its aliases; undefined when the id exists, which is then untouched. In a transaction, so that nothing of it stays alone. */
export async function insertTeam(db: DatabaseExecutor, team: NewTeam): Promise<TeamRow | undefined> {
  const row = await insertTeamRow(db, team);
  if (row === undefined || team.modelAliases === undefined) return row;
  const { id } = await db
    .insertInto("LiteLLM_ModelTable")
    .values({ aliases: JSON.stringify(team.modelAliases), created_by: team.createdBy, updated_by: team.createdBy })
    .returning("id")
    .executeTakeFirstOrThrow();
  await db.updateTable("LiteLLM_TeamTable").set({ model_id: id }).where("team_id", "=", team.teamId).execute();
  return { ...row, model_id: id };
}

async function insertTeamRow(db: DatabaseExecutor, team: NewTeam): Promise<TeamRow | undefined> {
  const row = await db
    .insertInto("LiteLLM_TeamTable")
    .values({
      ...NO_LISTS,
      team_id: team.teamId,
      team_alias: team.teamAlias,
      max_budget: team.maxBudgetUsd,
      soft_budget: team.softBudgetUsd ?? null,
      budget_duration: team.budgetDuration,
      budget_reset_at: team.budgetResetAt?.toISOString() ?? null,
      models: [...team.models],
      metadata: JSON.stringify(team.metadata),
      tpm_limit: team.tpmLimit == null ? null : String(team.tpmLimit),
      rpm_limit: team.rpmLimit == null ? null : String(team.rpmLimit),
      max_parallel_requests: team.maxParallelRequests ?? null,
      model_max_budget: JSON.stringify(team.modelMaxBudget ?? {}),
      members_with_roles: JSON.stringify([{ role: "admin", user_id: team.createdBy, user_email: null }]),
      blocked: team.blocked,
    })
    .onConflict((conflict) => conflict.column("team_id").doNothing())
    .returningAll()
    .executeTakeFirst();
  return withLists(row);
}

export async function findTeam(db: DatabaseExecutor, teamId: string): Promise<TeamRow | undefined> {
  return withLists(await db.selectFrom("LiteLLM_TeamTable").selectAll().where("team_id", "=", teamId).executeTakeFirst());
}

/** The aliases that a team's `model_id` leads to; null where there are none. */
export async function findAliases(db: DatabaseExecutor, modelId: number): Promise<unknown> {
  const row = await db.selectFrom("LiteLLM_ModelTable").select("aliases").where("id", "=", modelId).executeTakeFirst();
  return row?.aliases ?? null;
}

/** Newest first, `limit` at most. */
export async function listTeams(db: DatabaseExecutor, limit: number): Promise<readonly TeamRow[]> {
  const rows = await db.selectFrom("LiteLLM_TeamTable").selectAll().orderBy("created_at", "desc").orderBy("team_id").limit(limit).execute();
  return rows.map((row) => withLists(row));
}

/** Budgets of teams whose window ended at `now` or before, oldest first, 1,000 at most. */
export async function listTeamsDueForReset(db: DatabaseExecutor, now: Date): Promise<readonly DueBudget[]> {
  const { rows } = await sql<DueBudget>`
    select team_id as id, budget_duration as duration, budget_reset_at as "resetAt" from "LiteLLM_TeamTable"
     where budget_duration is not null and budget_reset_at <= ${now.toISOString()}::timestamp
     order by budget_reset_at
     limit 1000`.execute(db);
  return rows;
}

/** Ends the window of a team's budget; false when somebody else did, or the window was changed meanwhile. */
export async function clearTeamSpend(tx: DatabaseExecutor, due: DueBudget, nextResetAt: Date): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update "LiteLLM_TeamTable" set spend = 0, budget_reset_at = ${nextResetAt.toISOString()}::timestamp
     where team_id = ${due.id} and budget_reset_at = ${due.resetAt.toISOString()}::timestamp`.execute(tx);
  return numAffectedRows === 1n;
}

import type { DatabaseExecutor, TeamTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";
import { type DueBudget, LOCK_ORDER } from "../limits/index.ts";

/** Every statement on LiteLLM's team table. Its lists may be NULL there, which is an empty one, to LiteLLM and here. */

export type TeamRow = Selectable<TeamTable>;

const NO_LISTS = { admins: [] as string[], members: [] as string[], team_member_permissions: [] as string[] };
const LISTS = ["admins", "members", "team_member_permissions", "models"] as const satisfies readonly (keyof TeamRow)[];

/** The row as LiteLLM's clients expect it. */
export function withLists<Row extends TeamRow | undefined>(row: Row): Row {
  if (row === undefined) return row;
  return { ...row, ...Object.fromEntries(LISTS.map((name) => [name, row[name] ?? []])) };
}

/** A column that is absent is left as it is; null clears it. */
export interface TeamFields {
  readonly teamAlias?: string | null;
  readonly maxBudgetUsd?: DecimalText | null;
  readonly softBudgetUsd?: DecimalText | null;
  readonly budgetDuration?: string | null;
  readonly budgetResetAt?: Date | null;
  readonly models?: readonly string[];
  /** In the place of all that are there. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Added to those that are given, or there. */
  readonly addedMetadata?: Readonly<Record<string, unknown>>;
  /** Tokens and requests a minute, and requests at one time. */
  readonly tpmLimit?: number | null;
  readonly rpmLimit?: number | null;
  readonly maxParallelRequests?: number | null;
  /** USD by model, as LiteLLM writes it. */
  readonly modelMaxBudget?: Readonly<Record<string, unknown>>;
  readonly blocked?: boolean;
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

/** What the teams that exist among these ids are called, where they are called something. */
export async function findTeamAliases(db: DatabaseExecutor, teamIds: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { rows } = await sql<{ id: string; alias: string }>`
    select team_id as id, team_alias as alias from "LiteLLM_TeamTable"
     where team_id = any(${[...teamIds]}::text[]) and coalesce(team_alias, '') <> ''`.execute(db);
  return new Map(rows.map(({ id, alias }) => [id, alias]));
}

/** The aliases that a team's `model_id` leads to; null where there are none. */
export async function findAliases(db: DatabaseExecutor, modelId: number): Promise<unknown> {
  const row = await db.selectFrom("LiteLLM_ModelTable").select("aliases").where("id", "=", modelId).executeTakeFirst();
  return row?.aliases ?? null;
}

/** The team, which nobody changes until the transaction ends. */
export async function lockTeam(tx: DatabaseExecutor, teamId: string): Promise<TeamRow | undefined> {
  return withLists(await tx.selectFrom("LiteLLM_TeamTable").selectAll().where("team_id", "=", teamId).forUpdate().executeTakeFirst());
}

/** Sets what is given; undefined when there is no such team. */
export async function updateTeamRow(db: DatabaseExecutor, teamId: string, fields: TeamFields): Promise<TeamRow | undefined> {
  const { maxBudgetUsd, softBudgetUsd, budgetDuration, budgetResetAt, models, metadata, addedMetadata, modelMaxBudget, blocked } = fields;
  const row = await db
    .updateTable("LiteLLM_TeamTable")
    .set({
      updated_at: sql<Date>`(clock_timestamp() at time zone 'utc')::timestamp(3)`,
      ...(fields.teamAlias !== undefined && { team_alias: fields.teamAlias }),
      ...(maxBudgetUsd !== undefined && { max_budget: maxBudgetUsd }),
      ...(softBudgetUsd !== undefined && { soft_budget: softBudgetUsd }),
      ...(budgetDuration !== undefined && { budget_duration: budgetDuration }),
      ...(budgetResetAt !== undefined && { budget_reset_at: budgetResetAt?.toISOString() ?? null }),
      ...(models !== undefined && { models: [...models] }),
      ...(addedMetadata !== undefined && { metadata: sql`coalesce(metadata, '{}') || ${JSON.stringify(addedMetadata)}::jsonb` }),
      ...(metadata !== undefined && { metadata: JSON.stringify({ ...metadata, ...addedMetadata }) }),
      ...(fields.tpmLimit !== undefined && { tpm_limit: textOf(fields.tpmLimit) }),
      ...(fields.rpmLimit !== undefined && { rpm_limit: textOf(fields.rpmLimit) }),
      ...(fields.maxParallelRequests !== undefined && { max_parallel_requests: fields.maxParallelRequests }),
      ...(modelMaxBudget !== undefined && { model_max_budget: JSON.stringify(modelMaxBudget) }),
      ...(blocked !== undefined && { blocked }),
    })
    .where("team_id", "=", teamId)
    .returningAll()
    .executeTakeFirst();
  return withLists(row);
}

/** Writes who belongs to a team, whose row the transaction has locked. */
export async function writeMembers(tx: DatabaseExecutor, teamId: string, members: readonly object[]): Promise<TeamRow> {
  const row = await tx
    .updateTable("LiteLLM_TeamTable")
    .set({ members_with_roles: JSON.stringify(members), updated_at: sql<Date>`(clock_timestamp() at time zone 'utc')::timestamp(3)` })
    .where("team_id", "=", teamId)
    .returningAll()
    .executeTakeFirstOrThrow();
  return withLists(row);
}

/** Takes users out of every team, by their ids: whoever gets such an id later is no admin by it. */
export async function removeFromTeams(db: DatabaseExecutor, userIds: readonly string[]): Promise<void> {
  await sql`
    with theirs as materialized (
      select team_id from "LiteLLM_TeamTable"
       where exists (select from jsonb_array_elements(case jsonb_typeof(members_with_roles) when 'array' then members_with_roles else '[]' end) m
                      where m->>'user_id' = any(${[...userIds]}::text[]))
       order by team_id for update
    )
    update "LiteLLM_TeamTable" t
       set members_with_roles = (select coalesce(jsonb_agg(m order by at), '[]') from jsonb_array_elements(t.members_with_roles) with ordinality as e (m, at)
                                  where (m->>'user_id' = any(${[...userIds]}::text[])) is not true)
      from theirs where t.team_id = theirs.team_id`.execute(db);
}

function textOf(count: number | null): string | null {
  return count === null ? null : String(count);
}

/** Sets what callers of the team call models, in the place of what they called them. */
export async function writeTeamAliases(
  tx: DatabaseExecutor,
  { team_id: teamId, model_id: modelId }: Pick<TeamRow, "team_id" | "model_id">,
  aliases: Readonly<Record<string, string>>,
  changedBy: string,
): Promise<number> {
  const values = { aliases: JSON.stringify(aliases), updated_by: changedBy };
  if (modelId !== null) {
    const { numUpdatedRows } = await tx.updateTable("LiteLLM_ModelTable").set(values).where("id", "=", modelId).executeTakeFirst();
    if (numUpdatedRows === 1n) return modelId;
  }
  const { id } = await tx
    .insertInto("LiteLLM_ModelTable")
    .values({ ...values, created_by: changedBy })
    .returning("id")
    .executeTakeFirstOrThrow();
  await tx.updateTable("LiteLLM_TeamTable").set({ model_id: id }).where("team_id", "=", teamId).execute();
  return id;
}

/** Sets what the team has spent, as LiteLLM reads it, to 0; its counter is the caller's. */
export async function restartTeamSpend(tx: DatabaseExecutor, teamId: string): Promise<void> {
  await tx.updateTable("LiteLLM_TeamTable").set({ spend: "0" }).where("team_id", "=", teamId).execute();
}

/**
 * Deletes the teams that exist among these, with their aliases, limits and the counters in which nothing is reserved. Not their keys,
 * which are refused while there is no team of that id.
 */
export async function deleteTeamRows(db: DatabaseExecutor, teamIds: readonly string[]): Promise<void> {
  // Counters are locked first, as by every statement that needs both: a settlement under way would wait in a circle.
  await sql`
    with doomed as materialized (
      select team_id, model_id from "LiteLLM_TeamTable" where team_id = any(${[...teamIds]}::text[])
    ), locked as materialized (
      select c.principal_id, c.reserved from limit_counters c where c.principal_kind = 'team' and c.principal_id in (select team_id from doomed)
       order by ${LOCK_ORDER}
         for update of c
    ), deleted as (
      delete from "LiteLLM_TeamTable" t using doomed d where t.team_id = d.team_id and (select count(*) from locked) >= 0 returning t.team_id
    ), unnamed as (
      delete from "LiteLLM_ModelTable" m using doomed d where m.id = d.model_id
    ), forgotten as (
      delete from limit_counters c where c.principal_kind = 'team' and c.reserved = 0 and c.principal_id in (select principal_id from locked)
    ), lifted as (
      delete from limits l using doomed d where l.principal_kind = 'team' and l.principal_id = d.team_id
    )
    select count(*) from deleted`.execute(db);
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

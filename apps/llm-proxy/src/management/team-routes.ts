import { randomUUID } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import { ADMIN_USER_ID, listKeys } from "@proliferate/access/keys";
import {
  changeTeam,
  findAliases,
  findTeam,
  insertTeam,
  listTeamPage,
  listTeams,
  removeTeams,
  requireSoftBelow,
  type TeamFields,
  type TeamRow,
} from "@proliferate/access/teams";
import { newTeamRequestSchema, teamInfoQuerySchema } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import { numberOf } from "./budget-view.ts";
import { budgetWindow, keptInMetadata, keyViews } from "./key-routes.ts";
import { parseBody, parseLimits, parseQuery, type Route } from "./route.ts";
import { teamOfQuery } from "./team-admin.ts";

/** As many keys and teams as one answer shows. */
const MOST_ROWS = 1_000;

/** `/team/*` in LiteLLM's shapes. */
export function teamRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/team/new", handle: async ({ body }) => newTeam(db, parseLimits(newTeamRequestSchema, body)) },
    {
      method: "GET",
      path: "/team/info",
      teamAdmin: teamOfQuery,
      handle: async ({ query }) => teamInfo(db, parseQuery(teamInfoQuerySchema, query).team_id),
    },
    { method: "GET", path: "/team/list", handle: async ({ query }) => teamList(db, parseQuery(teamListQuerySchema, query)) },
    { method: "GET", path: "/v2/team/list", handle: async ({ query }) => teamPage(db, parseQuery(teamPageQuerySchema, query)) },
    // Teams that somebody may join by himself: there are none.
    { method: "GET", path: "/team/available", handle: async () => [] },
    { method: "POST", path: "/team/update", handle: async ({ body }) => updateTeam(db, parseLimits(updateTeamRequestSchema, body)) },
    {
      method: "POST",
      path: "/team/delete",
      handle: async ({ body }) => deleteTeams(db, parseBody(deleteTeamsRequestSchema, body).team_ids),
    },
    { method: "POST", path: "/team/block", handle: async ({ body }) => blockTeam(db, parseBody(teamInfoQuerySchema, body).team_id, true) },
    {
      method: "POST",
      path: "/team/unblock",
      handle: async ({ body }) => blockTeam(db, parseBody(teamInfoQuerySchema, body).team_id, false),
    },
  ];
}

/** A team belongs to no organization here, so those of one are none. */
const teamListQuerySchema = z.looseObject({ user_id: z.string().optional(), organization_id: z.string().optional() });

const teamPageQuerySchema = teamListQuerySchema.extend({
  team_id: z.string().optional(),
  team_alias: z.string().optional(),
  page: z.coerce.number().int().min(1).default(1),
  page_size: z.coerce.number().int().min(1).max(100).default(10),
  sort_by: z.enum(["team_id", "team_alias", "created_at"]).default("created_at"),
  sort_order: z.enum(["asc", "desc"]).default("asc"),
});

const updateTeamRequestSchema = newTeamRequestSchema.extend({ team_id: z.string().min(1) });

const deleteTeamsRequestSchema = z.looseObject({ team_ids: z.array(z.string().min(1)).min(1).max(100) });

async function teamList(db: DatabaseClient, query: z.output<typeof teamListQuerySchema>): Promise<unknown> {
  if (query.organization_id !== undefined) return [];
  if (query.user_id === undefined) return (await listTeams(db, MOST_ROWS)).map(teamView);
  const { rows } = await listTeamPage(
    db,
    { memberId: query.user_id },
    { column: "created_at", direction: "desc" },
    { page: 1, size: MOST_ROWS },
  );
  return rows.map(({ keys_count: _keys, ...row }) => teamView(row));
}

async function teamPage(db: DatabaseClient, query: z.output<typeof teamPageQuerySchema>): Promise<unknown> {
  const { page, page_size: size } = query;
  const filter = { teamId: query.team_id, aliasPart: query.team_alias, memberId: query.user_id };
  const order = { column: query.sort_by, direction: query.sort_order };
  const { rows, total } =
    query.organization_id === undefined ? await listTeamPage(db, filter, order, { page, size }) : { rows: [], total: 0 };
  return {
    teams: await Promise.all(
      rows.map(async (row) => ({ ...(await teamWithAliases(db, row)), members_count: row.members_with_roles.length })),
    ),
    total,
    page,
    page_size: size,
    total_pages: Math.ceil(total / size),
  };
}

type TeamRequest = z.output<typeof updateTeamRequestSchema>;

/** Fields that are absent stay absent: an update leaves them. */
function fieldsOf(request: TeamRequest): TeamFields {
  return {
    ...(request.team_alias !== undefined && { teamAlias: request.team_alias }),
    ...(request.max_budget !== undefined && { maxBudgetUsd: request.max_budget }),
    ...(request.soft_budget !== undefined && { softBudgetUsd: request.soft_budget }),
    ...(request.budget_duration !== undefined && budgetWindow(request.budget_duration)),
    ...(request.models !== undefined && { models: request.models ?? [] }),
    ...(request.metadata !== undefined && { metadata: request.metadata ?? {} }),
    ...keptInMetadata(request),
    ...(request.tpm_limit !== undefined && { tpmLimit: request.tpm_limit }),
    ...(request.rpm_limit !== undefined && { rpmLimit: request.rpm_limit }),
    ...(request.max_parallel_requests !== undefined && { maxParallelRequests: request.max_parallel_requests }),
    ...(request.model_max_budget !== undefined && { modelMaxBudget: request.model_max_budget ?? {} }),
    ...(request.blocked !== undefined && { blocked: request.blocked ?? false }),
  };
}

async function updateTeam(db: DatabaseClient, request: TeamRequest): Promise<unknown> {
  const aliases = request.model_aliases === undefined ? {} : { modelAliases: request.model_aliases ?? {} };
  const row = await changeTeam(db, request.team_id, { ...fieldsOf(request), ...aliases }, ADMIN_USER_ID);
  return { team_id: row.team_id, data: await teamWithAliases(db, row) };
}

async function blockTeam(db: DatabaseClient, teamId: string, blocked: boolean): Promise<unknown> {
  return teamWithAliases(db, await changeTeam(db, teamId, { blocked }, ADMIN_USER_ID));
}

async function deleteTeams(db: DatabaseClient, teamIds: readonly string[]): Promise<unknown> {
  return { deleted_teams: await removeTeams(db, [...new Set(teamIds)]) };
}

/** A team as LiteLLM answers it. */
export async function teamWithAliases(db: DatabaseClient, row: TeamRow): Promise<Record<string, unknown>> {
  const aliases = row.model_id === null ? null : await findAliases(db, row.model_id);
  return { ...teamView(row), litellm_model_table: aliasView(row, aliases) };
}

async function newTeam(db: DatabaseClient, request: z.output<typeof newTeamRequestSchema>): Promise<unknown> {
  const teamId = request.team_id ?? randomUUID();
  requireSoftBelow(request.soft_budget ?? null, request.max_budget ?? null);
  const team = {
    teamId,
    teamAlias: request.team_alias ?? null,
    maxBudgetUsd: request.max_budget ?? null,
    ...budgetWindow(request.budget_duration),
    models: request.models ?? [],
    metadata: { ...request.metadata, ...keptInMetadata(request).addedMetadata },
    ...(request.model_aliases && { modelAliases: request.model_aliases }),
    softBudgetUsd: request.soft_budget ?? null,
    tpmLimit: request.tpm_limit ?? null,
    rpmLimit: request.rpm_limit ?? null,
    maxParallelRequests: request.max_parallel_requests ?? null,
    modelMaxBudget: request.model_max_budget ?? {},
    blocked: request.blocked ?? false,
    createdBy: ADMIN_USER_ID,
  };
  const row = await db.transaction().execute((tx) => insertTeam(tx, team));
  // LiteLLM's words: its clients look for "already exists".
  if (!row) throw new AppError("team_exists", `Team id = ${teamId} already exists. Please use a different team id.`, { param: "team_id" });
  return { ...teamView(row), litellm_model_table: aliasView(row, request.model_aliases) };
}

/** Where LiteLLM has the aliases of a team. */
function aliasView({ model_id: id }: TeamRow, aliases: unknown): unknown {
  return id === null ? null : { id, model_aliases: aliases };
}

async function teamInfo(db: DatabaseClient, teamId: string): Promise<unknown> {
  const row = await findTeam(db, teamId);
  if (!row) throw new AppError("team_not_found", `Team not found, passed team id: ${teamId}.`, { param: "team_id" });
  const keys = await listKeys(db, { teamId }, 1, MOST_ROWS);
  const withoutHash = (await keyViews(db, keys.rows)).map(({ token: _hash, ...rest }) => rest);
  return { team_id: teamId, team_info: await teamWithAliases(db, row), keys: withoutHash, team_memberships: [] };
}

function teamView(row: TeamRow): Record<string, unknown> {
  return {
    ...row,
    spend: Number(row.spend),
    max_budget: numberOf(row.max_budget),
    soft_budget: numberOf(row.soft_budget),
    tpm_limit: numberOf(row.tpm_limit),
    rpm_limit: numberOf(row.rpm_limit),
  };
}

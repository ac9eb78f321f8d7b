import { randomUUID } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import { ADMIN_USER_ID, listKeys } from "@proliferate/access/keys";
import { findAliases, findTeam, insertTeam, listTeams, type TeamRow } from "@proliferate/access/teams";
import { newTeamRequestSchema, teamInfoQuerySchema } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals } from "@proliferate/shared/money";
import type { z } from "zod";
import { numberOf } from "./budget-view.ts";
import { budgetWindow, keptInMetadata, keyViews } from "./key-routes.ts";
import { parseLimits, parseQuery, type Route } from "./route.ts";

/** As many keys and teams as one answer shows. */
const MOST_ROWS = 1_000;

/** `/team/*` in LiteLLM's shapes. */
export function teamRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/team/new", handle: async ({ body }) => newTeam(db, parseLimits(newTeamRequestSchema, body)) },
    { method: "GET", path: "/team/info", handle: async ({ query }) => teamInfo(db, parseQuery(teamInfoQuerySchema, query).team_id) },
    { method: "GET", path: "/team/list", handle: async () => (await listTeams(db, MOST_ROWS)).map(teamView) },
  ];
}

async function newTeam(db: DatabaseClient, request: z.output<typeof newTeamRequestSchema>): Promise<unknown> {
  const teamId = request.team_id ?? randomUUID();
  requireSoftBelow(request);
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

/** LiteLLM's rule. Throws `invalid_request`. */
function requireSoftBelow({ soft_budget: soft, max_budget: most }: z.output<typeof newTeamRequestSchema>): void {
  if (soft == null || most == null || compareDecimals(soft, most) < 0) return;
  throw new AppError("invalid_request", `soft_budget (${soft}) must be below max_budget (${most}).`, { param: "soft_budget" });
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
  const aliases = row.model_id === null ? null : await findAliases(db, row.model_id);
  const info = { ...teamView(row), litellm_model_table: aliasView(row, aliases) };
  return { team_id: teamId, team_info: info, keys: withoutHash, team_memberships: [] };
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

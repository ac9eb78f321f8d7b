import { randomUUID } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import { ADMIN_USER_ID, listKeys } from "@proliferate/access/keys";
import { findTeam, insertTeam, listTeams, type TeamRow } from "@proliferate/access/teams";
import { newTeamRequestSchema, teamInfoQuerySchema } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import type { z } from "zod";
import { budgetWindow, keyView, limitsByModel } from "./key-routes.ts";
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
  const row = await insertTeam(db, {
    teamId,
    teamAlias: request.team_alias ?? null,
    maxBudgetUsd: request.max_budget ?? null,
    ...budgetWindow(request.budget_duration),
    models: request.models ?? [],
    metadata: { ...request.metadata, ...limitsByModel(request).addedMetadata },
    tpmLimit: request.tpm_limit ?? null,
    rpmLimit: request.rpm_limit ?? null,
    maxParallelRequests: request.max_parallel_requests ?? null,
    modelMaxBudget: request.model_max_budget ?? {},
    blocked: request.blocked ?? false,
    createdBy: ADMIN_USER_ID,
  });
  // LiteLLM's words: its clients look for "already exists".
  if (!row) throw new AppError("team_exists", `Team id = ${teamId} already exists. Please use a different team id.`, { param: "team_id" });
  return teamView(row);
}

async function teamInfo(db: DatabaseClient, teamId: string): Promise<unknown> {
  const row = await findTeam(db, teamId);
  if (!row) throw new AppError("team_not_found", `Team not found, passed team id: ${teamId}.`, { param: "team_id" });
  const keys = await listKeys(db, { teamId }, 1, MOST_ROWS);
  const withoutHash = keys.rows.map((key) => {
    const { token: _hash, ...rest } = keyView(key);
    return rest;
  });
  return { team_id: teamId, team_info: teamView(row), keys: withoutHash, team_memberships: [] };
}

function teamView(row: TeamRow): Record<string, unknown> {
  return {
    ...row,
    spend: Number(row.spend),
    max_budget: row.max_budget === null ? null : Number(row.max_budget),
    tpm_limit: row.tpm_limit === null ? null : Number(row.tpm_limit),
    rpm_limit: row.rpm_limit === null ? null : Number(row.rpm_limit),
  };
}

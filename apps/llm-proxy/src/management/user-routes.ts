import type { DatabaseClient } from "@proliferate/db";
import { listKeys, mintKey } from "@proliferate/access/keys";
import { intervalFromDuration, nextStoredReset } from "@proliferate/access/limits";
import { findTeamAliases } from "@proliferate/access/teams";
import { changeUser, listUsers, makeUser, removeUsers, requireUser, type UserFields, type UserRow } from "@proliferate/access/users";
import { sharedLimits } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import { numberOf } from "./budget-view.ts";
import { budgetWindow, keyViews } from "./key-routes.ts";
import { parseBody, parseLimits, parseQuery, type Route } from "./route.ts";

/** As many keys as one answer shows. */
const MOST_ROWS = 1_000;

const { soft_budget: _soft, model_max_budget: _models, ...limits } = sharedLimits;
const text = z.string().min(1).max(255).nullish();
const userFields = {
  ...limits,
  user_alias: text,
  user_email: text,
  // The others manage the proxy at LiteLLM, where ours takes the master key alone.
  user_role: z.literal("internal_user").nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
};

const newUserRequestSchema = z.looseObject({
  ...userFields,
  user_id: text,
  auto_create_key: z.boolean().default(true).describe("false: no key is minted"),
  key_alias: z.string().nullish(),
  duration: z.string().nullish().describe("life of the key that is minted"),
});
const updateUserRequestSchema = z.looseObject({ ...userFields, user_id: z.string().min(1).max(255) });
const deleteUsersRequestSchema = z.looseObject({ user_ids: z.array(z.string().min(1)).min(1).max(100) });
const userQuerySchema = z.looseObject({ user_id: z.string().min(1) });
const userPageQuerySchema = z.looseObject({
  user_ids: z.string().optional(),
  role: z.string().optional(),
  user_email: z.string().optional(),
  page: z.coerce.number().int().min(1).default(1),
  page_size: z.coerce.number().int().min(1).max(100).default(25),
  sort_by: z.enum(["user_id", "user_email", "user_alias", "user_role", "created_at"]).default("created_at"),
  sort_order: z.enum(["asc", "desc"]).default("asc"),
});

/** `/user/*` in LiteLLM's shapes: what somebody is called, and what all of the user's keys may use together. */
export function userRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/user/new", handle: async ({ body }) => newUser(db, parseLimits(newUserRequestSchema, body)) },
    { method: "POST", path: "/user/update", handle: async ({ body }) => updateUser(db, parseLimits(updateUserRequestSchema, body)) },
    {
      method: "POST",
      path: "/user/delete",
      handle: async ({ body }) => deleteUsers(db, parseBody(deleteUsersRequestSchema, body).user_ids),
    },
    { method: "GET", path: "/user/info", handle: async ({ query }) => userInfo(db, parseQuery(userQuerySchema, query).user_id) },
    { method: "GET", path: "/v2/user/info", handle: async ({ query }) => shortInfo(db, parseQuery(userQuerySchema, query).user_id) },
    { method: "GET", path: "/user/list", handle: async ({ query }) => userPage(db, parseQuery(userPageQuerySchema, query)) },
  ];
}

/** Fields that are absent stay absent. */
function fieldsOf(request: z.output<typeof updateUserRequestSchema> | z.output<typeof newUserRequestSchema>): UserFields {
  return {
    ...(request.user_alias !== undefined && { userAlias: request.user_alias }),
    ...(request.user_email !== undefined && { userEmail: request.user_email }),
    ...(request.user_role !== undefined && { userRole: request.user_role }),
    ...(request.max_budget !== undefined && { maxBudgetUsd: request.max_budget }),
    ...(request.budget_duration !== undefined && budgetWindow(request.budget_duration)),
    ...(request.tpm_limit !== undefined && { tpmLimit: request.tpm_limit }),
    ...(request.rpm_limit !== undefined && { rpmLimit: request.rpm_limit }),
    ...(request.max_parallel_requests !== undefined && { maxParallelRequests: request.max_parallel_requests }),
    ...(request.metadata !== undefined && { metadata: request.metadata ?? {} }),
  };
}

/** The user first: a key that cannot be minted, because its alias is taken, leaves one without a key. */
async function newUser(db: DatabaseClient, request: z.output<typeof newUserRequestSchema>): Promise<unknown> {
  const life = request.duration == null ? {} : { life: intervalFromDuration(request.duration) };
  const row = await makeUser(db, fieldsOf(request), request.user_id ?? undefined);
  const { key_count: _count, ...user } = userView(row);
  if (!request.auto_create_key) return { ...user, key: "", token: null, expires: null };
  const minted = await mintKey(db, { userId: row.user_id, ...life, ...(request.key_alias != null && { keyAlias: request.key_alias }) });
  const [key] = await keyViews(db, [minted.row]);
  return { ...key, ...user, key: minted.key, token_id: minted.row.token };
}

async function updateUser(db: DatabaseClient, request: z.output<typeof updateUserRequestSchema>): Promise<unknown> {
  const { key_count: _count, ...user } = userView(await changeUser(db, request.user_id, fieldsOf(request)));
  return { user_id: request.user_id, data: user };
}

/** How many they were, as LiteLLM answers. */
async function deleteUsers(db: DatabaseClient, userIds: readonly string[]): Promise<number> {
  return removeUsers(db, [...new Set(userIds)]);
}

async function userInfo(db: DatabaseClient, userId: string): Promise<unknown> {
  const { key_count: _count, ...user } = userView(await requireUser(db, userId));
  const { rows } = await listKeys(db, { userId }, 1, MOST_ROWS);
  const aliases = await findTeamAliases(
    db,
    rows.flatMap((row) => row.team_id ?? []),
  );
  const keys = (await keyViews(db, rows)).map((view, index) => ({ ...view, team_alias: aliases.get(rows[index]?.team_id ?? "") ?? null }));
  return { user_id: userId, user_info: user, keys, teams: [] };
}

async function shortInfo(db: DatabaseClient, userId: string): Promise<unknown> {
  const {
    key_count: _count,
    team_id: _team,
    max_parallel_requests: _most,
    tpm_limit: _tokens,
    rpm_limit: _requests,
    ...user
  } = userView(await requireUser(db, userId));
  return user;
}

async function userPage(db: DatabaseClient, query: z.output<typeof userPageQuerySchema>): Promise<unknown> {
  const { page, page_size: size } = query;
  const filter = { userIds: query.user_ids?.split(",", 1_001), role: query.role, emailPart: query.user_email };
  if ((filter.userIds?.length ?? 0) > 1_000) throw new AppError("invalid_request", "user_ids are more than 1,000.", { param: "user_ids" });
  const { rows, total } = await listUsers(db, filter, { column: query.sort_by, direction: query.sort_order }, { page, size });
  return { users: rows.map(userView), total, page, page_size: size, total_pages: Math.ceil(total / size) };
}

/** Amounts are JSON numbers on this wire, for display. `spend` is what the user's keys spent, those that were deleted left out. */
function userView(row: UserRow) {
  return {
    ...row,
    spend: Number(row.spend),
    max_budget: numberOf(row.max_budget),
    tpm_limit: numberOf(row.tpm_limit),
    rpm_limit: numberOf(row.rpm_limit),
    budget_reset_at: row.budget_duration === null ? null : nextStoredReset(row.budget_duration, new Date()),
  };
}

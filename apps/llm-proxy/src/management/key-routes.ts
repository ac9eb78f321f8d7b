import type { DatabaseClient } from "@proliferate/db";
import { findBudgets } from "@proliferate/access/budgets";
import { intervalFromDuration, nextBudgetReset } from "@proliferate/access/limits";
import {
  changeKey,
  findKeys,
  hashOfKeyOrHash,
  type KeyFields,
  type KeyRow,
  listKeyAliases,
  listKeys,
  mintKey,
  regenerateKey,
  requireKey,
  revokeKeys,
} from "@proliferate/access/keys";
import { callerKind, opens } from "@proliferate/access/principals";
import {
  blockKeyRequestSchema,
  deleteKeysRequestSchema,
  generateKeyRequestSchema,
  keyInfoQuerySchema,
  keyListQuerySchema,
  regenerateKeyRequestSchema,
  updateKeyRequestSchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { budgetView, numberOf } from "./budget-view.ts";
import { z } from "zod";
import { OPENABLE_ROUTES } from "../data-plane/openable-routes.ts";
import { parseBody, parseLimits, parseQuery, type Route } from "./route.ts";
import { changeOfKey, keyForTeam, keyOfBody, keyOfQuery, keysOfBody, teamOfQuery } from "./team-admin.ts";

/** `/key/*` in LiteLLM's shapes. */
export function keyRoutes(db: DatabaseClient): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/key/generate",
      teamAdmin: keyForTeam,
      handle: async ({ body }) => generateKey(db, parseLimits(generateKeyRequestSchema, body)),
    },
    {
      method: "POST",
      path: "/key/update",
      teamAdmin: changeOfKey,
      handle: async ({ body }) => updateKey(db, parseLimits(updateKeyRequestSchema, body)),
    },
    { method: "POST", path: "/key/regenerate", teamAdmin: changeOfKey, handle: async ({ body }) => renewKey(db, undefined, body) },
    {
      method: "POST",
      path: "/key/{key}/regenerate",
      teamAdmin: changeOfKey,
      handle: async ({ names, body }) => renewKey(db, names["key"], body),
    },
    {
      method: "POST",
      path: "/key/delete",
      teamAdmin: keysOfBody,
      handle: async ({ body }) => deleteKeys(db, parseBody(deleteKeysRequestSchema, body)),
    },
    {
      method: "POST",
      path: "/key/block",
      teamAdmin: keyOfBody,
      handle: async ({ body }) => setBlocked(db, parseBody(blockKeyRequestSchema, body).key, true),
    },
    {
      method: "POST",
      path: "/key/unblock",
      teamAdmin: keyOfBody,
      handle: async ({ body }) => setBlocked(db, parseBody(blockKeyRequestSchema, body).key, false),
    },
    {
      method: "GET",
      path: "/key/info",
      teamAdmin: keyOfQuery,
      handle: async ({ query }) => keyInfo(db, parseQuery(keyInfoQuerySchema, query)),
    },
    {
      method: "POST",
      path: "/v2/key/info",
      teamAdmin: keysOfBody,
      handle: async ({ body }) => keysInfo(db, parseBody(keysInfoRequestSchema, body).keys),
    },
    { method: "GET", path: "/key/aliases", handle: async ({ query }) => keyAliases(db, parseQuery(keyAliasesQuerySchema, query)) },
    {
      method: "GET",
      path: "/key/list",
      teamAdmin: teamOfQuery,
      handle: async ({ query }) => keyList(db, parseQuery(keyListQuerySchema, query)),
    },
  ];
}

type KeyRequest = z.output<typeof generateKeyRequestSchema> | z.output<typeof updateKeyRequestSchema>;

/** A window and its first end; null for none. Throws `invalid_request`. */
export function budgetWindow(duration: string | null | undefined): {
  readonly budgetDuration: string | null;
  readonly budgetResetAt: Date | null;
} {
  return { budgetDuration: duration ?? null, budgetResetAt: duration ? nextBudgetReset(duration, new Date()) : null };
}

/** LiteLLM would drop the budget that is named. Throws `invalid_request`. */
function requireOneBudget(request: KeyRequest): void {
  if (request.budget_id == null || request.soft_budget == null) return;
  const message = "soft_budget would not be kept: it stands in the budget that budget_id names; set it there, with POST /budget/update.";
  throw new AppError("invalid_request", message, { param: "soft_budget" });
}

/** Fields that are absent stay absent: an insert then takes the column's default and an update leaves it. */
function fieldsOf(request: KeyRequest): KeyFields {
  requireOneBudget(request);
  const { duration, models, metadata, blocked } = request;
  return {
    ...(request.key_alias !== undefined && { keyAlias: request.key_alias }),
    ...(duration !== undefined && { life: duration === null ? null : intervalFromDuration(duration) }),
    ...(request.team_id !== undefined && { teamId: request.team_id }),
    ...(request.user_id !== undefined && { userId: request.user_id }),
    ...(request.max_budget !== undefined && { maxBudgetUsd: request.max_budget }),
    ...(request.budget_duration !== undefined && budgetWindow(request.budget_duration)),
    ...(request.tpm_limit !== undefined && { tpmLimit: request.tpm_limit }),
    ...(request.rpm_limit !== undefined && { rpmLimit: request.rpm_limit }),
    ...(request.max_parallel_requests !== undefined && { maxParallelRequests: request.max_parallel_requests }),
    ...(request.model_max_budget !== undefined && { modelMaxBudget: request.model_max_budget ?? {} }),
    ...(models !== undefined && { models: models ?? [] }),
    ...(request.aliases !== undefined && { aliases: request.aliases ?? {} }),
    ...(request.allowed_routes !== undefined && { allowedRoutes: openedRoutes(request.allowed_routes ?? []) }),
    ...(request.budget_id !== undefined && { budgetId: request.budget_id }),
    ...(request.soft_budget !== undefined && { softBudgetUsd: request.soft_budget }),
    ...(metadata !== undefined && { metadata: metadata ?? {} }),
    ...(blocked !== undefined && { blocked: blocked ?? false }),
    ...keptInMetadata(request),
  };
}

/** LiteLLM keeps these among the metadata, and reads them there. */
export function keptInMetadata(
  request: Pick<KeyRequest, "model_rpm_limit" | "model_tpm_limit" | "tags">,
): Pick<KeyFields, "addedMetadata"> {
  const { model_rpm_limit, model_tpm_limit, tags } = request;
  const added = {
    ...(model_rpm_limit !== undefined && { model_rpm_limit: model_rpm_limit ?? {} }),
    ...(model_tpm_limit !== undefined && { model_tpm_limit: model_tpm_limit ?? {} }),
    ...(tags !== undefined && { tags: tags ?? [] }),
  };
  return Object.keys(added).length === 0 ? {} : { addedMetadata: added };
}

/** Throws `invalid_request` for a route that no key can be given. */
function openedRoutes(allowedRoutes: readonly string[], param = "allowed_routes"): readonly string[] {
  const useless = allowedRoutes.find((entry) => !OPENABLE_ROUTES.some((route) => opens(entry, route)));
  if (useless === undefined) return allowedRoutes;
  throw new AppError(
    "invalid_request",
    `${param} would not be kept: "${useless.slice(0, 64)}" opens nothing here. A key opens routes of the data plane, and the management API takes the master key alone.`,
    { param },
  );
}

/** What LiteLLM makes of each type; `default` is every route that a key can open. */
const ROUTES_OF_TYPE = { default: [], llm_api: ["llm_api_routes"], management: ["management_routes"], read_only: ["info_routes"] } as const;

/** The type's routes go before those that are named beside it, as LiteLLM has it. */
function routesOfType(keyType: keyof typeof ROUTES_OF_TYPE | null | undefined): Pick<KeyFields, "keyType" | "allowedRoutes"> {
  if (keyType === null || keyType === undefined) return {};
  if (keyType === "default") return { keyType };
  return { keyType, allowedRoutes: openedRoutes(ROUTES_OF_TYPE[keyType], "key_type") };
}

async function generateKey(db: DatabaseClient, request: z.output<typeof generateKeyRequestSchema>): Promise<unknown> {
  const fields = { ...fieldsOf(request), ...routesOfType(request.key_type) };
  const minted = await mintKey(db, fields, { chosenKey: request.key ?? undefined, kind: callerKind(request.caller_kind) });
  return { ...(await viewOf(db, minted.row)), key: minted.key, token_id: minted.row.token };
}

async function updateKey(db: DatabaseClient, request: z.output<typeof updateKeyRequestSchema>): Promise<unknown> {
  return { ...(await viewOf(db, await changeKey(db, request.key, fieldsOf(request)))), key: request.key };
}

/** The body names the key before the path does, as LiteLLM has it. */
async function renewKey(db: DatabaseClient, keyOfPath: string | undefined, body: unknown): Promise<unknown> {
  const request = parseLimits(regenerateKeyRequestSchema, body);
  const key = request.key || keyOfPath;
  if (!key) throw new AppError("invalid_request", "No key passed in.", { param: "key" });
  const minted = await regenerateKey(db, key, {
    fields: fieldsOf({ ...request, key }),
    newKey: request.new_key ?? undefined,
    grace: request.grace_period ? intervalFromDuration(request.grace_period, "grace_period") : null,
  });
  // LiteLLM tells the hash as `token_id` alone.
  return { ...(await viewOf(db, minted.row)), key: minted.key, token_id: minted.row.token, token: null };
}

async function deleteKeys(db: DatabaseClient, request: z.output<typeof deleteKeysRequestSchema>): Promise<unknown> {
  await revokeKeys(db, request.keys ?? [], request.key_aliases ?? []);
  return { deleted_keys: request.keys ?? request.key_aliases };
}

async function setBlocked(db: DatabaseClient, key: string, blocked: boolean): Promise<unknown> {
  return viewOf(db, await changeKey(db, key, { blocked }));
}

async function keyInfo(db: DatabaseClient, { key }: z.output<typeof keyInfoQuerySchema>): Promise<unknown> {
  if (key === undefined) throw new AppError("invalid_request", "key is required: the master key has no row of its own.", { param: "key" });
  const { token: _hash, ...info } = await viewOf(db, await requireKey(db, key));
  return { key, info };
}

/** `/v2/key/info`: rows without their hashes; a key that there is none of has none. */
const keysInfoRequestSchema = z.looseObject({ keys: z.array(z.string().min(1)).min(1).max(1_000) });

const keyAliasesQuerySchema = z.looseObject({
  page: z.coerce.number().int().min(1).default(1),
  size: z.coerce.number().int().min(1).max(1_000).default(50),
  search: z.string().optional(),
  team_id: z.string().optional(),
});

async function keysInfo(db: DatabaseClient, keys: readonly string[]): Promise<unknown> {
  const rows = await findKeys(db, keys.map(hashOfKeyOrHash));
  return { key: keys, info: (await keyViews(db, rows)).map(({ token: _hash, ...info }) => info) };
}

async function keyAliases(db: DatabaseClient, query: z.output<typeof keyAliasesQuerySchema>): Promise<unknown> {
  const { page, size, search, team_id: teamId } = query;
  const { aliases, total } = await listKeyAliases(db, { teamId, search }, page, size);
  return { aliases, total_count: total, current_page: page, total_pages: Math.ceil(total / size), size };
}

async function keyList(db: DatabaseClient, query: z.output<typeof keyListQuerySchema>): Promise<unknown> {
  const filter = { teamId: query.team_id, userId: query.user_id, keyAlias: query.key_alias, keyHash: query.key_hash };
  const { rows, total } = await listKeys(db, filter, query.page, query.size);
  return {
    keys: query.return_full_object ? await keyViews(db, rows) : rows.map((row) => row.token),
    total_count: total,
    current_page: query.page,
    total_pages: Math.ceil(total / query.size),
  };
}

/** Rows with their budgets, as LiteLLM answers them: amounts are JSON numbers on this wire, for display; nothing here computes with them. */
export async function keyViews(db: DatabaseClient, rows: readonly KeyRow[]): Promise<readonly KeyView[]> {
  const ids = rows.flatMap((row) => row.budget_id ?? []);
  const budgets = new Map(ids.length === 0 ? [] : (await findBudgets(db, ids)).map((budget) => [budget.budget_id, budget]));
  return rows.map((row) => {
    const budget = row.budget_id === null ? undefined : budgets.get(row.budget_id);
    return {
      ...row,
      // As LiteLLM has it of a key that was minted without a type.
      key_type: row.key_type ?? "default",
      spend: Number(row.spend),
      max_budget: numberOf(row.max_budget),
      tpm_limit: numberOf(row.tpm_limit),
      rpm_limit: numberOf(row.rpm_limit),
      soft_budget: numberOf(budget?.soft_budget),
      litellm_budget_table: budget === undefined ? null : budgetView(budget),
    };
  });
}

type KeyView = Record<string, unknown> & { readonly token: string };

async function viewOf(db: DatabaseClient, row: KeyRow): Promise<KeyView> {
  const [view] = await keyViews(db, [row]);
  return view as KeyView;
}

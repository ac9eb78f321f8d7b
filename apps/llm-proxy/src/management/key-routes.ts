import type { DatabaseClient } from "@proliferate/db";
import { intervalFromDuration, nextBudgetReset } from "@proliferate/access/limits";
import { changeKey, type KeyFields, type KeyRow, listKeys, mintKey, requireKey, revokeKeys } from "@proliferate/access/keys";
import { callerKind } from "@proliferate/access/principals";
import {
  blockKeyRequestSchema,
  deleteKeysRequestSchema,
  generateKeyRequestSchema,
  keyInfoQuerySchema,
  keyListQuerySchema,
  updateKeyRequestSchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import type { z } from "zod";
import { parseBody, parseLimits, parseQuery, type Route } from "./route.ts";

/** `/key/*` in LiteLLM's shapes. */
export function keyRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/key/generate", handle: async ({ body }) => generateKey(db, parseLimits(generateKeyRequestSchema, body)) },
    { method: "POST", path: "/key/update", handle: async ({ body }) => updateKey(db, parseLimits(updateKeyRequestSchema, body)) },
    { method: "POST", path: "/key/delete", handle: async ({ body }) => deleteKeys(db, parseBody(deleteKeysRequestSchema, body)) },
    { method: "POST", path: "/key/block", handle: async ({ body }) => setBlocked(db, parseBody(blockKeyRequestSchema, body).key, true) },
    { method: "POST", path: "/key/unblock", handle: async ({ body }) => setBlocked(db, parseBody(blockKeyRequestSchema, body).key, false) },
    { method: "GET", path: "/key/info", handle: async ({ query }) => keyInfo(db, parseQuery(keyInfoQuerySchema, query)) },
    { method: "GET", path: "/key/list", handle: async ({ query }) => keyList(db, parseQuery(keyListQuerySchema, query)) },
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

/** Fields that are absent stay absent: an insert then takes the column's default and an update leaves it. */
function fieldsOf(request: KeyRequest): KeyFields {
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
    ...(metadata !== undefined && { metadata: metadata ?? {} }),
    ...(blocked !== undefined && { blocked: blocked ?? false }),
    ...limitsByModel(request),
  };
}

/** LiteLLM keeps these two among the metadata, and reads them there. */
export function limitsByModel(request: Pick<KeyRequest, "model_rpm_limit" | "model_tpm_limit">): Pick<KeyFields, "addedMetadata"> {
  const given = Object.entries({ model_rpm_limit: request.model_rpm_limit, model_tpm_limit: request.model_tpm_limit }).filter(
    ([, value]) => value !== undefined,
  );
  return given.length === 0 ? {} : { addedMetadata: Object.fromEntries(given.map(([name, value]) => [name, value ?? {}])) };
}

async function generateKey(db: DatabaseClient, request: z.output<typeof generateKeyRequestSchema>): Promise<unknown> {
  const minted = await mintKey(db, fieldsOf(request), { chosenKey: request.key ?? undefined, kind: callerKind(request.caller_kind) });
  return { ...keyView(minted.row), key: minted.key, token_id: minted.row.token };
}

async function updateKey(db: DatabaseClient, request: z.output<typeof updateKeyRequestSchema>): Promise<unknown> {
  return { ...keyView(await changeKey(db, request.key, fieldsOf(request))), key: request.key };
}

async function deleteKeys(db: DatabaseClient, request: z.output<typeof deleteKeysRequestSchema>): Promise<unknown> {
  await revokeKeys(db, request.keys ?? [], request.key_aliases ?? []);
  return { deleted_keys: request.keys ?? request.key_aliases };
}

async function setBlocked(db: DatabaseClient, key: string, blocked: boolean): Promise<unknown> {
  return keyView(await changeKey(db, key, { blocked }));
}

async function keyInfo(db: DatabaseClient, { key }: z.output<typeof keyInfoQuerySchema>): Promise<unknown> {
  if (key === undefined) throw new AppError("invalid_request", "key is required: the master key has no row of its own.", { param: "key" });
  const { token: _hash, ...info } = keyView(await requireKey(db, key));
  return { key, info };
}

async function keyList(db: DatabaseClient, query: z.output<typeof keyListQuerySchema>): Promise<unknown> {
  const filter = { teamId: query.team_id, userId: query.user_id, keyAlias: query.key_alias, keyHash: query.key_hash };
  const { rows, total } = await listKeys(db, filter, query.page, query.size);
  return {
    keys: rows.map((row) => (query.return_full_object ? keyView(row) : row.token)),
    total_count: total,
    current_page: query.page,
    total_pages: Math.ceil(total / query.size),
  };
}

/** A row as LiteLLM answers it: amounts are JSON numbers on this wire, for display; nothing here computes with them. */
export function keyView(row: KeyRow): Record<string, unknown> & { readonly token: string } {
  return {
    ...row,
    spend: Number(row.spend),
    max_budget: row.max_budget === null ? null : Number(row.max_budget),
    tpm_limit: row.tpm_limit === null ? null : Number(row.tpm_limit),
    rpm_limit: row.rpm_limit === null ? null : Number(row.rpm_limit),
    litellm_budget_table: null,
  };
}

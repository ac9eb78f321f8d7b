import { type DatabaseClient, isPermanentError } from "@proliferate/db";
import { hashOfKeyOrHash, readKeyId } from "@proliferate/access/keys";
import { deleteLimit, listLimits, METERS, MOST_LIMITS, readTiers, type SetLimit, upsertLimit, writeTier } from "@proliferate/access/limits";
import type { LimitOwner } from "@proliferate/access/principals";
import {
  assignTierRequestSchema,
  limitNameSchema,
  limitQuerySchema,
  setLimitRequestSchema,
  tierQuerySchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { parseBody, parseQuery, type Route } from "./route.ts";

/**
 * `/limit/*` and `/tier/*`: what a principal, or each user of a tier, may use by a meter in a window. Ours; LiteLLM's `max_budget` stands on key and team. A limit holds for the
 * next request of every process.
 */
export function limitRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/limit/set", handle: async ({ body }) => setLimit(db, parseBody(setLimitRequestSchema, body)) },
    { method: "POST", path: "/limit/delete", handle: async ({ body }) => removeLimit(db, parseBody(limitNameSchema, body)) },
    {
      method: "GET",
      path: "/limit/list",
      handle: async ({ query }) => ({
        limits: (await listLimits(db, await principalOf(db, parseQuery(limitQuerySchema, query)))).map(limitView),
      }),
    },
    {
      method: "POST",
      path: "/tier/assign",
      handle: async ({ body }) => {
        const { user_ids: userIds, tier } = parseBody(assignTierRequestSchema, body);
        await writeTier(db, userIds, tier);
        return { user_ids: userIds, tier };
      },
    },
    {
      method: "GET",
      path: "/tier/of",
      handle: async ({ query }) => {
        const { user_id: userId } = parseQuery(tierQuerySchema, query);
        return { user_id: userId, tier: (await readTiers(db, [userId])).get(userId) ?? null };
      },
    },
  ];
}

type Named = Readonly<Record<"principal_kind", LimitOwner["kind"]>> & { readonly principal_id: string };

/** A key may be named by itself or its hash; its limits go by its id. */
async function principalOf(db: DatabaseClient, { principal_kind: kind, principal_id: id }: Named): Promise<LimitOwner> {
  return { kind, id: kind === "key" ? await readKeyId(db, hashOfKeyOrHash(id)) : id };
}

async function setLimit(
  db: DatabaseClient,
  request: Named & {
    readonly meter: string;
    readonly window: string;
    readonly model: string;
    readonly amount: string;
    readonly enforce: "refuse" | "count";
  },
): Promise<unknown> {
  const { meter, window, model, amount, enforce } = request;
  requireMeter(meter);
  requireNoBudget(request);
  const limit: SetLimit = { principal: await principalOf(db, request), meter, window, model, amount, enforce };
  const isSet = await upsertLimit(db, limit).catch((error: unknown) => {
    if (!isPermanentError(error)) throw error;
    throw new AppError("invalid_request", `window "${window}" names no time zone that the database knows.`, { param: "window" });
  });
  if (!isSet)
    throw new AppError(
      "invalid_request",
      `This ${limit.principal.kind} has ${MOST_LIMITS} limits already; delete one with POST /limit/delete first.`,
      { param: "principal_id" },
    );
  return limitView(limit);
}

async function removeLimit(
  db: DatabaseClient,
  request: Named & { readonly meter: string; readonly window: string; readonly model: string },
): Promise<unknown> {
  const { meter, window, model } = request;
  return { deleted: await deleteLimit(db, { principal: await principalOf(db, request), meter, window, model }) };
}

function requireMeter(meter: string): void {
  if (Object.hasOwn(METERS, meter)) return;
  throw new AppError("invalid_request", `meter must be one of ${Object.keys(METERS).join(", ")}.`, { param: "meter" });
}

function requireNoBudget({ principal_kind: kind, meter, window, model }: Parameters<typeof setLimit>[1]): void {
  if (!((kind === "key" || kind === "team") && meter === "usd" && window === "total" && model === "")) return;
  const message = `USD of a ${kind} for all time is its max_budget: set it with POST /${kind === "key" ? "key/update" : "team/new"}.`;
  throw new AppError("invalid_request", message, { param: "window" });
}

function limitView({ principal, meter, window, model, amount, enforce }: SetLimit): unknown {
  return { principal_kind: principal.kind, principal_id: principal.id, meter, window, model, amount, enforce };
}

import { type DatabaseClient, isPermanentError } from "@proliferate/db";
import { hashOfKeyOrHash } from "@proliferate/access/keys/virtual-key";
import { deleteLimit, listLimits, type SetLimit, upsertLimit } from "@proliferate/access/limits/limits-db";
import { METERS } from "@proliferate/access/limits/meters";
import type { Principal } from "@proliferate/access/principals/principal";
import { limitNameSchema, limitQuerySchema, setLimitRequestSchema } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { parseBody, parseQuery, type Route } from "./route.ts";

/**
 * `/limit/*`: what a principal may use by a meter in a window. Ours; LiteLLM's `max_budget` stands on key and team. A limit holds for the
 * next request of every process.
 */
export function limitRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "POST", path: "/limit/set", handle: async ({ body }) => setLimit(db, parseBody(setLimitRequestSchema, body)) },
    { method: "POST", path: "/limit/delete", handle: async ({ body }) => removeLimit(db, parseBody(limitNameSchema, body)) },
    {
      method: "GET",
      path: "/limit/list",
      handle: async ({ query }) => ({ limits: (await listLimits(db, principalOf(parseQuery(limitQuerySchema, query)))).map(limitView) }),
    },
  ];
}

type Named = Readonly<Record<"principal_kind", Principal["kind"]>> & { readonly principal_id: string };

/** A key may be named by itself; it is known by its hash. */
function principalOf({ principal_kind: kind, principal_id: id }: Named): Principal {
  return { kind, id: kind === "key" ? hashOfKeyOrHash(id) : id };
}

async function setLimit(
  db: DatabaseClient,
  request: Named & { readonly meter: string; readonly window: string; readonly amount: string; readonly enforce: "refuse" | "count" },
): Promise<unknown> {
  const { meter, window, amount, enforce } = request;
  requireMeter(meter);
  const limit: SetLimit = { principal: principalOf(request), meter, window, amount, enforce };
  await upsertLimit(db, limit).catch((error: unknown) => {
    if (!isPermanentError(error)) throw error;
    throw new AppError("invalid_request", `window "${window}" names no time zone that the database knows.`, { param: "window" });
  });
  return limitView(limit);
}

async function removeLimit(db: DatabaseClient, request: Named & { readonly meter: string; readonly window: string }): Promise<unknown> {
  const { meter, window } = request;
  return { deleted: await deleteLimit(db, { principal: principalOf(request), meter, window }) };
}

function requireMeter(meter: string): void {
  if (Object.hasOwn(METERS, meter)) return;
  throw new AppError("invalid_request", `meter must be one of ${Object.keys(METERS).join(", ")}.`, { param: "meter" });
}

function limitView({ principal, meter, window, amount, enforce }: SetLimit): unknown {
  return { principal_kind: principal.kind, principal_id: principal.id, meter, window, amount, enforce };
}

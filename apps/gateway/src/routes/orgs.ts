import { createRoute, z } from "@hono/zod-openapi";
import { getOrgUsage, listLedger } from "@proliferate/services/reports/usage";
import {
  ledgerQuerySchema,
  ledgerResponseSchema,
  orgUsageQuerySchema,
  orgUsageResponseSchema,
  resourceIdSchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { ledgerBody, orgUsageBody } from "../billing-body.ts";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../openapi.ts";

const orgPath = z.object({ org_id: resourceIdSchema });

const usage = createRoute({
  method: "get",
  path: "/v1/orgs/{org_id}/usage",
  summary: "What an org used, in total, by model and by session",
  description: "Counts what is on the ledger, so it lags a request by one spend sync. An org that never spent has zeros.",
  security: BEARER_SECURITY,
  request: { params: orgPath, query: orgUsageQuerySchema },
  responses: {
    200: { description: "The totals.", content: { "application/json": { schema: orgUsageResponseSchema.meta({ id: "OrgUsage" }) } } },
    ...errorResponses(),
  },
});

const ledger = createRoute({
  method: "get",
  path: "/v1/orgs/{org_id}/ledger",
  summary: "An org's billing events and the batches that settle them",
  security: BEARER_SECURITY,
  request: { params: orgPath, query: ledgerQuerySchema },
  responses: {
    200: { description: "One page.", content: { "application/json": { schema: ledgerResponseSchema.meta({ id: "Ledger" }) } } },
    ...errorResponses(),
  },
});

/** `/v1/orgs`: reports on one organization. */
export function registerOrgRoutes(app: GatewayApp, { db }: GatewayDependencies): void {
  app.openapi(usage, async (context) => {
    const query = context.req.valid("query");
    const range = {
      ...(query.from === undefined ? {} : { from: new Date(query.from) }),
      ...(query.to === undefined ? {} : { to: new Date(query.to) }),
      ...(query.session_id === undefined ? {} : { sessionId: query.session_id }),
    };
    if (range.from && range.to && range.from >= range.to)
      throw new AppError("invalid_request", "from must be before to.", { param: "from" });
    const used = await getOrgUsage(db, context.req.valid("param").org_id, range);
    return context.json(orgUsageBody(used, range), 200);
  });
  app.openapi(ledger, async (context) => {
    const { cursor, limit } = context.req.valid("query");
    const page = await listLedger(db, context.req.valid("param").org_id, { limit, ...(cursor === undefined ? {} : { cursor }) });
    return context.json(ledgerBody(page), 200);
  });
}

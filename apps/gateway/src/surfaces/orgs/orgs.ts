import { createRoute, z } from "@hono/zod-openapi";
import { describeOrg, getOrgUsage, listLedger, reportBody } from "@proliferate/services/reports";
import {
  ledgerQuerySchema,
  ledgerResponseSchema,
  orgUsageQuerySchema,
  orgUsageResponseSchema,
  resourceIdSchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { orgSchema } from "./org-schema.ts";
import { ledgerBody, orgUsageBody } from "./billing-body.ts";
import type { CommonDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json } from "../../openapi.ts";

const orgPath = z.object({ org_id: resourceIdSchema });

const show = createRoute({
  method: "get",
  path: "/v1/orgs/{org_id}",
  summary: "One organization: state, balance, drift, settings, credits that rest, keys, top-ups",
  security: BEARER_SECURITY,
  request: { params: orgPath },
  responses: { 200: json("Everything about it.", orgSchema), ...errorResponses("org_not_found") },
});

const usage = createRoute({
  method: "get",
  path: "/v1/orgs/{org_id}/usage",
  summary: "What an org used, in total, by model and by session",
  description: "Counts what is on the ledger, so it lags a request by one spend sync. An org that never spent has zeros.",
  security: BEARER_SECURITY,
  request: { params: orgPath, query: orgUsageQuerySchema },
  responses: { 200: json("The totals.", orgUsageResponseSchema.meta({ id: "OrgUsage" })), ...errorResponses() },
});

const ledger = createRoute({
  method: "get",
  path: "/v1/orgs/{org_id}/ledger",
  summary: "An org's billing events and the batches that settle them",
  security: BEARER_SECURITY,
  request: { params: orgPath, query: ledgerQuerySchema },
  responses: { 200: json("One page.", ledgerResponseSchema.meta({ id: "Ledger" })), ...errorResponses() },
});

/** `/v1/orgs`: reports on one organization. */
export function registerOrgRoutes(app: GatewayApp, { db }: CommonDependencies): void {
  app.openapi(show, async (context) =>
    context.json(orgSchema.parse(reportBody(await describeOrg(db, context.req.valid("param").org_id))), 200),
  );
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

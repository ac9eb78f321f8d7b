import { createRoute, z } from "@hono/zod-openapi";
import { listPayers, setPayer, unsetPayer } from "@proliferate/services/payers";
import { reportBody, requireKnownOrg } from "@proliferate/services/reports";
import {
  changedPayerSchema,
  payerListQuerySchema,
  payerListSchema,
  resourceIdSchema,
  setPayerRequestSchema,
} from "@proliferate/shared/contracts";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import { operatorOf } from "./operator.ts";

const params = z.object({ team_id: resourceIdSchema });
const changed = { 200: json("Who is billed now, and who was before.", changedPayerSchema.meta({ id: "ChangedPayer" })) };

const list = createRoute({
  method: "get",
  path: "/v1/billing/payers",
  summary: "Teams that another organization pays for",
  security: BEARER_SECURITY,
  request: { query: payerListQuerySchema },
  responses: { 200: json("By team.", payerListSchema.meta({ id: "PayerList" })), ...errorResponses() },
});

const set = createRoute({
  method: "put",
  path: "/v1/billing/payers/{team_id}",
  summary: "Say who is billed for a team's usage from now on",
  description: "What is on the ledger stays where it is. Put on record with who and why. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: jsonBody(setPayerRequestSchema) },
  responses: { ...changed, ...errorResponses("org_not_found", "payer_refused") },
});

const unset = createRoute({
  method: "delete",
  path: "/v1/billing/payers/{team_id}",
  summary: "Let a team pay for itself again, from now on",
  description: "What is on the ledger stays where it is. Put on record with who and why. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params },
  responses: { ...changed, ...errorResponses("payer_refused") },
});

/** `/v1/billing/payers`: who is billed for which team. */
export function registerPayerRoutes(app: GatewayApp, { db }: BillingDependencies): void {
  app.openapi(list, async (context) => {
    const { org_id: orgId, cursor, limit } = context.req.valid("query");
    return context.json(payerListSchema.parse(reportBody(await listPayers(db, { orgId, cursor, limit }))), 200);
  });
  app.openapi(set, async (context) => {
    const body = context.req.valid("json");
    if (!body.create) await requireKnownOrg(db, body.org_id);
    const result = await setPayer(db, context.req.valid("param").team_id, body.org_id, operatorOf(context, body));
    return context.json(changedPayerSchema.parse(reportBody(result)), 200);
  });
  app.openapi(unset, async (context) => {
    const result = await unsetPayer(db, context.req.valid("param").team_id, operatorOf(context));
    return context.json(changedPayerSchema.parse(reportBody(result)), 200);
  });
}

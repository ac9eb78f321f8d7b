import { createRoute, z } from "@hono/zod-openapi";
import { requestReconcile } from "@proliferate/services/balance/reconcile-balance";
import { auditCompleteness } from "@proliferate/services/billing/audit";
import { reportBody } from "@proliferate/services/billing/report-body";
import { requireKnownOrg } from "@proliferate/services/operator/org-report";
import { auditRequestSchema, auditResultSchema, reconcileRequestedSchema, resourceIdSchema } from "@proliferate/shared/contracts";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../openapi.ts";

const audit = createRoute({
  method: "post",
  path: "/v1/billing/audit",
  summary: "Compare spend rows with the ledger by org and day, and bill what is missing if asked",
  security: BEARER_SECURITY,
  request: { body: { required: true, content: { "application/json": { schema: auditRequestSchema } } } },
  responses: {
    200: { description: "What was found; kept as an audit row.", content: { "application/json": { schema: auditResultSchema.meta({ id: "Audit" }) } } },
    ...errorResponses(),
  },
});

const reconcile = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/reconcile",
  summary: "Ask the worker to compare an org's balance with the sink",
  description: "Safe to repeat. The outcome is a row of `balance_reconciliations`, and shows in the status.",
  security: BEARER_SECURITY,
  request: { params: z.object({ org_id: resourceIdSchema }) },
  responses: {
    202: { description: "Asked for; served within seconds.", content: { "application/json": { schema: reconcileRequestedSchema.meta({ id: "ReconcileRequested" }) } } },
    ...errorResponses("org_not_found"),
  },
});

/** Checks of the ledger against its source and the sink. */
export function registerBillingCheckRoutes(app: GatewayApp, { db }: GatewayDependencies): void {
  app.openapi(audit, async (context) => {
    const { from, to, heal } = context.req.valid("json");
    const result = await auditCompleteness(db, { from: new Date(from), to: new Date(to), heal });
    return context.json(auditResultSchema.parse(reportBody(result)), 200);
  });
  app.openapi(reconcile, async (context) => {
    const orgId = context.req.valid("param").org_id;
    await requireKnownOrg(db, orgId);
    await requestReconcile(db, orgId);
    return context.json({ org_id: orgId, requested: true as const }, 202);
  });
}

import { createRoute, z } from "@hono/zod-openapi";
import { requestReconcile } from "@proliferate/services/balance";
import { auditCompleteness } from "@proliferate/services/billing";
import { compareWithSink, reportBody, requireKnownOrg } from "@proliferate/services/reports";
import {
  auditRequestSchema,
  auditResultSchema,
  compareRequestSchema,
  reconcileRequestedSchema,
  resourceIdSchema,
  sinkComparisonSchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";

const audit = createRoute({
  method: "post",
  path: "/v1/billing/audit",
  summary: "Compare spend rows with the ledger by org and day, and bill what is missing if asked",
  security: BEARER_SECURITY,
  request: { body: jsonBody(auditRequestSchema) },
  responses: { 200: json("What was found; kept as an audit row.", auditResultSchema.meta({ id: "Audit" })), ...errorResponses() },
});

const reconcile = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/reconcile",
  summary: "Ask the worker to compare an org's balance with the sink",
  description: "Safe to repeat. The outcome is a row of `balance_reconciliations`, and shows in the status.",
  security: BEARER_SECURITY,
  request: { params: z.object({ org_id: resourceIdSchema }) },
  responses: {
    202: json("Asked for; served within seconds.", reconcileRequestedSchema.meta({ id: "ReconcileRequested" })),
    ...errorResponses("org_not_found"),
  },
});

const compare = createRoute({
  method: "post",
  path: "/v1/billing/reconcile",
  summary: "Compare deliveries and balances with the sink now, as `billing reconcile` does",
  description:
    "A dry run unless `dry_run` is false; what it changes then, and what corrections at the sink are: " +
    "docs/billing.md. Needs the sink's secret in this gateway's environment. Safe to repeat. Name an org where " +
    "there are many: each costs a call or two.",
  security: BEARER_SECURITY,
  request: { body: jsonBody(compareRequestSchema) },
  responses: {
    200: json("What was found, and done.", sinkComparisonSchema.meta({ id: "SinkComparison" })),
    ...errorResponses("org_not_found", "sink_not_configured"),
  },
});

/** Checks of the ledger against its source and the sink. */
export function registerBillingCheckRoutes(app: GatewayApp, { db, comparison }: BillingDependencies): void {
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
  app.openapi(compare, async (context) => {
    const { org_id: orgId, dry_run: dryRun, apply_corrections: applyCorrections } = context.req.valid("json");
    if (comparison === undefined)
      throw new AppError(
        "sink_not_configured",
        "This gateway holds no secret of a sink (AUTUMN_API_KEY), so it cannot compare with it. The worker compares by " +
          "itself, and at once for one organization: POST /v1/billing/orgs/{org_id}/reconcile.",
      );
    if (dryRun && applyCorrections)
      throw new AppError("invalid_request", "A dry run changes nothing: send apply_corrections with dry_run false.", {
        param: "apply_corrections",
      });
    return context.json(
      sinkComparisonSchema.parse(reportBody(await compareWithSink(db, { ...comparison, orgId, dryRun, applyCorrections }))),
      200,
    );
  });
}

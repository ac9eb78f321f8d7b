import { createRoute, z } from "@hono/zod-openapi";
import { reportBody } from "@proliferate/services/reports/report-body";
import { requestFlush } from "@proliferate/services/settlement/settlement-circuit-db";
import type { OrgSettings } from "@proliferate/services/billing-gate/db";
import { changeOrgSettings, resumeOrg, suspendOrg } from "@proliferate/services/billing-gate/settings";
import { describeOrg, listOrgs, requireKnownOrg } from "@proliferate/services/reports/org-report";
import {
  byHandRequestSchema,
  flushRequestedSchema,
  orgListQuerySchema,
  orgListSchema,
  orgReportSchema,
  orgSettingsRequestSchema,
  resourceIdSchema,
  suspendOrgRequestSchema,
} from "@proliferate/shared/contracts";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../openapi.ts";
import { operatorOf } from "../operator.ts";

const params = z.object({ org_id: resourceIdSchema });
const orgBody = { "application/json": { schema: orgReportSchema.meta({ id: "Org" }) } };
const asItIsNow = { 200: { description: "The organization as it is now.", content: orgBody }, ...errorResponses("org_not_found") };

const list = createRoute({
  method: "get",
  path: "/v1/billing/orgs",
  summary: "Organizations: state, balance, drift, credits that rest, sessions",
  security: BEARER_SECURITY,
  request: { query: orgListQuerySchema },
  responses: {
    200: { description: "By id.", content: { "application/json": { schema: orgListSchema.meta({ id: "OrgList" }) } } },
    ...errorResponses(),
  },
});

const show = createRoute({
  method: "get",
  path: "/v1/orgs/{org_id}",
  summary: "One organization: state, balance, drift, settings, credits that rest, keys, top-ups",
  security: BEARER_SECURITY,
  request: { params },
  responses: { 200: { description: "Everything about it.", content: orgBody }, ...errorResponses("org_not_found") },
});

const change = createRoute({
  method: "patch",
  path: "/v1/billing/orgs/{org_id}",
  summary: "Change settings of an organization: plan, grace, overdraft, limits",
  description: "What is absent stays. Put on record with who and why.",
  security: BEARER_SECURITY,
  request: { params, body: { required: true, content: { "application/json": { schema: orgSettingsRequestSchema } } } },
  responses: asItIsNow,
});

const suspend = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/suspend",
  summary: "Refuse everything to an organization; its keys are blocked within seconds",
  description: "Usage so far is billed. Whoever is refused is told the reason. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: { required: true, content: { "application/json": { schema: suspendOrgRequestSchema } } } },
  responses: asItIsNow,
});

const resume = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/resume",
  summary: "End a suspension; the balance decides what follows",
  description: "Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: { required: true, content: { "application/json": { schema: byHandRequestSchema } } } },
  responses: asItIsNow,
});

const flush = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/flush",
  summary: "Ask the worker to settle an organization's usage at once",
  description: "Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params },
  responses: {
    202: {
      description: "Asked for; served within about a second.",
      content: { "application/json": { schema: flushRequestedSchema.meta({ id: "FlushRequested" }) } },
    },
    ...errorResponses("org_not_found"),
  },
});

/** `/v1/billing/orgs`, and `/v1/orgs/{org_id}` for a token that is bound to it. */
export function registerBillingOrgRoutes(app: GatewayApp, { db }: GatewayDependencies): void {
  const report = async (orgId: string) => orgReportSchema.parse(reportBody(await describeOrg(db, orgId)));
  app.openapi(list, async (context) => context.json(orgListSchema.parse(reportBody(await listOrgs(db, context.req.valid("query")))), 200));
  app.openapi(show, async (context) => context.json(await report(context.req.valid("param").org_id), 200));
  app.openapi(change, async (context) => {
    const orgId = context.req.valid("param").org_id;
    const body = context.req.valid("json");
    if (!body.create) await requireKnownOrg(db, orgId);
    await changeOrgSettings(db, orgId, settingsOf(body), operatorOf(context, body));
    return context.json(await report(orgId), 200);
  });
  app.openapi(suspend, async (context) => {
    const orgId = context.req.valid("param").org_id;
    const body = context.req.valid("json");
    if (!body.create) await requireKnownOrg(db, orgId);
    await suspendOrg(db, orgId, body.reason, operatorOf(context, body));
    return context.json(await report(orgId), 200);
  });
  app.openapi(resume, async (context) => {
    const orgId = context.req.valid("param").org_id;
    await requireKnownOrg(db, orgId);
    await resumeOrg(db, orgId, operatorOf(context, context.req.valid("json")));
    return context.json(await report(orgId), 200);
  });
  app.openapi(flush, async (context) => {
    const orgId = context.req.valid("param").org_id;
    await requireKnownOrg(db, orgId);
    await requestFlush(db, orgId);
    return context.json({ org_id: orgId, requested: true as const }, 202);
  });
}

function settingsOf(body: z.output<typeof orgSettingsRequestSchema>): OrgSettings {
  return {
    ...(body.plan !== undefined && { plan: body.plan }),
    ...(body.grace_ms !== undefined && { graceMs: body.grace_ms }),
    ...(body.overdraft_credits !== undefined && { overdraftCredits: body.overdraft_credits }),
    ...(body.min_credits !== undefined && { minCredits: body.min_credits }),
    ...(body.max_sessions !== undefined && { maxSessions: body.max_sessions }),
    ...(body.low_balance_credits !== undefined && { lowBalanceCredits: body.low_balance_credits }),
  };
}

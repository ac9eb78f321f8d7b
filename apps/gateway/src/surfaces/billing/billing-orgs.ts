import { createRoute, z } from "@hono/zod-openapi";
import { describeOrg, listOrgs, reportBody, requireKnownOrg } from "@proliferate/services/reports";
import { requestFlush } from "@proliferate/services/settlement";
import { changeOrgSettings, type OrgSettings, resumeOrg, suspendOrg } from "@proliferate/services/billing-gate";
import {
  byHandRequestSchema,
  flushRequestedSchema,
  orgListQuerySchema,
  orgListSchema,
  orgSettingsRequestSchema,
  resourceIdSchema,
  suspendOrgRequestSchema,
} from "@proliferate/shared/contracts";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import { orgSchema } from "../orgs/org-schema.ts";
import { operatorOf } from "./operator.ts";

const params = z.object({ org_id: resourceIdSchema });
const asItIsNow = { 200: json("The organization as it is now.", orgSchema), ...errorResponses("org_not_found") };

const list = createRoute({
  method: "get",
  path: "/v1/billing/orgs",
  summary: "Organizations: state, balance, drift, credits that rest, sessions",
  security: BEARER_SECURITY,
  request: { query: orgListQuerySchema },
  responses: { 200: json("By id.", orgListSchema.meta({ id: "OrgList" })), ...errorResponses() },
});

const change = createRoute({
  method: "patch",
  path: "/v1/billing/orgs/{org_id}",
  summary: "Change settings of an organization: account mode, plan, grace, overdraft, limits",
  description: "What is absent stays. Put on record with who and why. Mode kept: what it uses stays on the ledger and is never sent.",
  security: BEARER_SECURITY,
  request: { params, body: jsonBody(orgSettingsRequestSchema) },
  responses: { ...asItIsNow, ...errorResponses("org_not_found", "account_mode_refused", "payer_refused") },
});

const suspend = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/suspend",
  summary: "Refuse everything to an organization; its keys are blocked within seconds",
  description: "Usage so far is billed. Whoever is refused is told the reason. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: jsonBody(suspendOrgRequestSchema) },
  responses: { ...asItIsNow, ...errorResponses("org_not_found", "payer_refused") },
});

const resume = createRoute({
  method: "post",
  path: "/v1/billing/orgs/{org_id}/resume",
  summary: "End a suspension; the balance decides what follows",
  description: "Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: jsonBody(byHandRequestSchema) },
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
    202: json("Asked for; served within about a second.", flushRequestedSchema.meta({ id: "FlushRequested" })),
    ...errorResponses("org_not_found"),
  },
});

/** `/v1/billing/orgs`: what operators see of organizations and change about them. */
export function registerBillingOrgRoutes(app: GatewayApp, { db }: BillingDependencies): void {
  const report = async (orgId: string) => orgSchema.parse(reportBody(await describeOrg(db, orgId)));
  app.openapi(list, async (context) => context.json(orgListSchema.parse(reportBody(await listOrgs(db, context.req.valid("query")))), 200));
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
    ...(body.mode !== undefined && { mode: body.mode }),
    ...(body.plan !== undefined && { plan: body.plan }),
    ...(body.grace_ms !== undefined && { graceMs: body.grace_ms }),
    ...(body.overdraft_credits !== undefined && { overdraftCredits: body.overdraft_credits }),
    ...(body.min_credits !== undefined && { minCredits: body.min_credits }),
    ...(body.max_sessions !== undefined && { maxSessions: body.max_sessions }),
    ...(body.low_balance_credits !== undefined && { lowBalanceCredits: body.low_balance_credits }),
  };
}

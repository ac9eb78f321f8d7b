import { createRoute, z } from "@hono/zod-openapi";
import { reportBody, requireKnownOrg } from "@proliferate/services/reports";
import { listPacks, readTopUpPolicy, removeTopUpPolicy, resetTopUpBreaker, settlePack, setTopUpPolicy } from "@proliferate/services/top-up";
import {
  breakerResetSchema,
  byHandRequestSchema,
  resourceIdSchema,
  settledTopUpSchema,
  settleTopUpRequestSchema,
  topUpListQuerySchema,
  topUpListSchema,
  topUpPolicyRemovedSchema,
  topUpPolicyRequestSchema,
  topUpPolicySchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import { operatorOf } from "./operator.ts";

const params = z.object({ org_id: resourceIdSchema });
const POLICY_PATH = "/v1/billing/orgs/{org_id}/top-up-policy";
const policySchema = topUpPolicySchema.meta({ id: "TopUpPolicy" });

const show = createRoute({
  method: "get",
  path: POLICY_PATH,
  summary: "When and how an organization buys packs by itself",
  security: BEARER_SECURITY,
  request: { params },
  responses: { 200: json("The policy, with its breaker.", policySchema), ...errorResponses("org_not_found", "top_up_not_found") },
});

const set = createRoute({
  method: "put",
  path: POLICY_PATH,
  summary: "Set when and how an organization buys packs by itself",
  description: "The policy as a whole; breaker and packs stay as they are. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: jsonBody(topUpPolicyRequestSchema) },
  responses: { 200: json("The policy as it is now.", policySchema), ...errorResponses("org_not_found") },
});

const remove = createRoute({
  method: "delete",
  path: POLICY_PATH,
  summary: "Take an organization's policy away: no packs are bought any more",
  description: "Refused while a pack is under way or waits for a person. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params },
  responses: {
    200: json("It has none now.", topUpPolicyRemovedSchema.meta({ id: "TopUpPolicyRemoved" })),
    ...errorResponses("org_not_found", "decision_refused"),
  },
});

const resetBreaker = createRoute({
  method: "post",
  path: `${POLICY_PATH}/reset-breaker`,
  summary: "Let an organization buy again after a declined card was replaced",
  description: "Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params, body: jsonBody(byHandRequestSchema) },
  responses: { 200: json("The breaker is closed.", breakerResetSchema.meta({ id: "BreakerReset" })), ...errorResponses("org_not_found") },
});

const list = createRoute({
  method: "get",
  path: "/v1/billing/top-ups",
  summary: "Packs that were bought or asked for",
  security: BEARER_SECURITY,
  request: { query: topUpListQuerySchema },
  responses: { 200: json("Newest first.", topUpListSchema.meta({ id: "TopUpList" })), ...errorResponses("org_not_found") },
});

const settle = createRoute({
  method: "post",
  path: "/v1/billing/top-ups/{top_up_id}/settle",
  summary: "Say whether a pack in needs_review was bought, after looking at the sink",
  description: "Kept with who and why. Bought: its credits come in with the balance. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params: z.object({ top_up_id: z.string().min(1).max(100) }), body: jsonBody(settleTopUpRequestSchema) },
  responses: {
    200: json("What became of it.", settledTopUpSchema.meta({ id: "SettledTopUp" })),
    ...errorResponses("top_up_not_found", "decision_refused"),
  },
});

/** `/v1/billing/orgs/{org_id}/top-up-policy` and `/v1/billing/top-ups`. */
export function registerTopUpRoutes(app: GatewayApp, { db }: BillingDependencies): void {
  app.openapi(show, async (context) => {
    const orgId = context.req.valid("param").org_id;
    await requireKnownOrg(db, orgId);
    const policy = await readTopUpPolicy(db, orgId);
    if (policy === undefined) throw new AppError("top_up_not_found", `Organization ${orgId} has no policy; no packs are bought for it.`);
    return context.json(topUpPolicySchema.parse(reportBody(policy)), 200);
  });
  app.openapi(set, async (context) => {
    const orgId = context.req.valid("param").org_id;
    const body = context.req.valid("json");
    const {
      enabled,
      plan_id: planId,
      pack_credits: packCredits,
      threshold_credits: thresholdCredits,
      max_packs_per_month: maxPacksPerMonth,
      min_interval_ms: minIntervalMs,
    } = body;
    if (!body.create) await requireKnownOrg(db, orgId);
    const policy = await setTopUpPolicy(
      db,
      orgId,
      { enabled, planId, packCredits, thresholdCredits, maxPacksPerMonth, minIntervalMs },
      operatorOf(context, body),
    );
    return context.json(topUpPolicySchema.parse(reportBody(policy)), 200);
  });
  app.openapi(remove, async (context) => {
    const orgId = context.req.valid("param").org_id;
    await requireKnownOrg(db, orgId);
    return context.json({ org_id: orgId, removed: await removeTopUpPolicy(db, orgId, operatorOf(context)) }, 200);
  });
  app.openapi(resetBreaker, async (context) => {
    const orgId = context.req.valid("param").org_id;
    await requireKnownOrg(db, orgId);
    return context.json({ org_id: orgId, reset: await resetTopUpBreaker(db, orgId, operatorOf(context, context.req.valid("json"))) }, 200);
  });
  app.openapi(list, async (context) => {
    const { org_id: orgId, state, limit } = context.req.valid("query");
    if (orgId !== undefined) await requireKnownOrg(db, orgId);
    const packs = await listPacks(db, { orgId, states: state === undefined ? undefined : [state], limit });
    return context.json(topUpListSchema.parse(reportBody({ topUps: packs })), 200);
  });
  app.openapi(settle, async (context) => {
    const body = context.req.valid("json");
    const result = await settlePack(db, context.req.valid("param").top_up_id, { bought: body.bought, operator: operatorOf(context, body) });
    return context.json(settledTopUpSchema.parse(reportBody(result)), 200);
  });
}

import { createRoute, z } from "@hono/zod-openapi";
import { describeSession, extendSession, getSessionCost, pauseSession } from "@proliferate/services/sessions";
import {
  extendSessionRequestSchema,
  type LaunchedSession,
  launchedSessionSchema,
  resourceIdSchema,
  resumeSessionRequestSchema,
  sessionCostSchema,
  sessionSchema,
} from "@proliferate/shared/contracts";
import type { GatewayApp, SessionsDependencies } from "../../dependencies.ts";
import { answerLaunch, LAUNCH_CODES, launchDependencies, resumeFromRequest, waitQuery } from "./launch-request.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";

const sessionPath = z.object({ session_id: resourceIdSchema });
const sessionRow = sessionSchema.omit({ billed: true, unbilled_spend_usd: true }).meta({ id: "SessionRow" });

const extend = createRoute({
  method: "post",
  path: "/v1/sessions/{session_id}/extend",
  summary: "Give a running session more time, another budget, or both; a paused one another budget",
  description:
    "On the key that it has: nothing in the sandbox changes. A paused session has no key: its new budget holds " +
    "from its resume on, which also takes a duration. With the billing gate on, the budget follows within seconds " +
    "as far as the balance allows.",
  security: BEARER_SECURITY,
  request: { params: sessionPath, body: jsonBody(extendSessionRequestSchema.meta({ id: "ExtendSession" })) },
  responses: {
    200: json("Extended.", sessionRow),
    ...errorResponses("session_not_found", "session_not_ready", "budget_exceeded", "llm_proxy_failed"),
  },
});

const pause = createRoute({
  method: "post",
  path: "/v1/sessions/{session_id}/pause",
  summary: "Put a session to rest",
  description: "Keeps its home directory in a snapshot, ends the sandbox, revokes the key, settles the usage at once.",
  security: BEARER_SECURITY,
  request: { params: sessionPath },
  responses: {
    200: json("Paused.", sessionRow),
    ...errorResponses("session_not_found", "session_not_ready", "sandbox_snapshot_failed", "llm_proxy_failed", ...LAUNCH_CODES),
  },
});

const resume = createRoute({
  method: "post",
  path: "/v1/sessions/{session_id}/resume",
  summary: "Wake a paused session",
  description:
    "A new key inside what is left of the budget (or of the larger one that is named here), and a sandbox with the home directory of the snapshot. A resume that fails leaves the session paused.",
  security: BEARER_SECURITY,
  request: { params: sessionPath, query: waitQuery, body: jsonBody(resumeSessionRequestSchema.meta({ id: "ResumeSession" })) },
  responses: {
    201: json("The agent answers.", launchedSessionSchema),
    202: json("The sandbox is being launched.", launchedSessionSchema),
    ...errorResponses(
      "invalid_json",
      "session_not_found",
      "session_not_ready",
      "session_conflict",
      "budget_exceeded",
      "model_not_found",
      "llm_proxy_failed",
      "sandbox_snapshot_not_found",
      "no_credits",
      "grace_expired",
      "billing_not_configured",
      "billing_state_blocked",
      "concurrent_session_limit",
      ...LAUNCH_CODES,
    ),
  },
});

const cost = createRoute({
  method: "get",
  path: "/v1/sessions/{session_id}/cost",
  summary: "What a session costs so far, by model",
  description: "As of now: what is on the ledger, spend rows that are not billed yet, and what requests in flight may still cost.",
  security: BEARER_SECURITY,
  request: { params: sessionPath },
  responses: { 200: json("The cost.", sessionCostSchema.meta({ id: "SessionCost" })), ...errorResponses("session_not_found") },
});

/** What is done with a session between its start and its end. */
export function registerSessionSandboxRoutes(app: GatewayApp, deps: SessionsDependencies): void {
  const launch = launchDependencies(deps);
  app.openapi(extend, async (context) => {
    const { duration, max_budget_usd: maxBudgetUsd } = context.req.valid("json");
    return context.json(
      describeSession(await extendSession(launch, context.req.valid("param").session_id, { duration, maxBudgetUsd })),
      200,
    );
  });
  app.openapi(pause, async (context) =>
    context.json(describeSession(await pauseSession(launch, context.req.valid("param").session_id)), 200),
  );
  app.openapi(resume, async (context) => {
    const { wait } = context.req.valid("query");
    const { underWay, password } = await resumeFromRequest(deps, context.req.valid("param").session_id, context.req.valid("json"), wait);
    const { status, body } = await answerLaunch(underWay, password, wait);
    return context.json(body as LaunchedSession, status as 201);
  });
  app.openapi(cost, async (context) => context.json(await getSessionCost(deps.db, context.req.valid("param").session_id), 200));
}

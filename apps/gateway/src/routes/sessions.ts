import { randomUUID } from "node:crypto";
import { createRoute, z } from "@hono/zod-openapi";
import { endSession } from "@proliferate/services/sessions/end-session";
import { startSession } from "@proliferate/services/sessions/start-session";
import { describeSession, getSession, listSessions } from "@proliferate/services/sessions/view-session";
import {
  createSessionRequestSchema,
  createSessionResponseSchema,
  resourceIdSchema,
  sessionListQuerySchema,
  sessionListResponseSchema,
  sessionSchema,
} from "@proliferate/shared/contracts";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../openapi.ts";
import { sandboxSettings } from "../sandbox-settings.ts";

const sessionPath = z.object({ session_id: resourceIdSchema });
const json = <Schema extends z.ZodType>(description: string, schema: Schema) => ({ description, content: { "application/json": { schema } } });

/** What the billing gate may answer, where it is on. */
const GATE_CODES = ["no_credits", "grace_expired", "billing_not_configured", "billing_state_blocked", "concurrent_session_limit"] as const;

const create = createRoute({
  method: "post",
  path: "/v1/sessions",
  summary: "Start a session, or resume it",
  description: "Mints a key that is limited to the session and returns all that a sandbox needs. The id of a running session of the same org resumes it: a new key, then the old one is revoked. Safe to repeat with the same session_id.",
  security: BEARER_SECURITY,
  request: { body: { required: true, content: { "application/json": { schema: createSessionRequestSchema.meta({ id: "CreateSession" }) } } } },
  responses: {
    201: json("The session runs; `api_key` is shown this once.", createSessionResponseSchema.meta({ id: "StartedSession" })),
    ...errorResponses("invalid_json", "request_too_large", "model_not_found", "session_conflict", "budget_exceeded", "llm_proxy_failed", ...GATE_CODES),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/sessions",
  summary: "List an org's sessions, newest first",
  security: BEARER_SECURITY,
  request: { query: sessionListQuerySchema },
  responses: { 200: json("One page.", sessionListResponseSchema.meta({ id: "SessionList" })), ...errorResponses() },
});

const get = createRoute({
  method: "get",
  path: "/v1/sessions/{session_id}",
  summary: "A session and what it has spent so far",
  security: BEARER_SECURITY,
  request: { params: sessionPath },
  responses: { 200: json("The session, never its key.", sessionSchema.meta({ id: "Session" })), ...errorResponses("session_not_found") },
});

const end = createRoute({
  method: "delete",
  path: "/v1/sessions/{session_id}",
  summary: "End a session",
  description: "Revokes every key of the session. Final and idempotent: ending it again revokes again.",
  security: BEARER_SECURITY,
  request: { params: sessionPath },
  responses: {
    200: json("The session has ended.", sessionSchema.omit({ billed: true, unbilled_spend_usd: true }).meta({ id: "EndedSession" })),
    ...errorResponses("session_not_found", "llm_proxy_failed"),
  },
});

/** `/v1/sessions`: parse, call one service function, reply. */
export function registerSessionRoutes(app: GatewayApp, deps: GatewayDependencies): void {
  const { db, proxy, admission } = deps;
  app.openapi(create, async (context) => {
    const body = context.req.valid("json");
    const started = await startSession(
      { db, keys: proxy.keys, admission },
      {
        sessionId: body.session_id ?? `ses_${randomUUID()}`,
        orgId: body.org_id,
        userId: body.user_id,
        model: body.model,
        models: body.models,
        maxBudgetUsd: body.max_budget_usd,
        duration: body.duration,
        metadata: body.metadata,
        defaultModel: deps.defaultModel,
      },
    );
    const { session, apiKey, models, resumed } = started;
    return context.json(
      {
        session_id: session.session_id,
        org_id: session.org_id,
        state: session.state,
        resumed,
        model: session.model,
        api_key: apiKey,
        base_url: proxy.baseUrl,
        expires_at: session.expires_at?.toISOString() ?? null,
        ...sandboxSettings({ session, apiKey, baseUrl: proxy.baseUrl, smallModel: deps.smallModel, models }),
      },
      201,
    );
  });
  app.openapi(list, async (context) => {
    const { org_id: orgId, cursor, limit } = context.req.valid("query");
    return context.json(await listSessions(db, { orgId, cursor, limit }), 200);
  });
  app.openapi(get, async (context) => context.json(await getSession(db, context.req.valid("param").session_id), 200));
  app.openapi(end, async (context) => {
    const ended = await endSession({ db, keys: proxy.keys, admission }, context.req.valid("param").session_id);
    return context.json(describeSession(ended), 200);
  });
}

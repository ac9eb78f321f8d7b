import { randomUUID } from "node:crypto";
import { createRoute, z } from "@hono/zod-openapi";
import {
  describeSession,
  endSessionWithin,
  getSession,
  listSessions,
  type OneRun,
  runOnce,
  startSession,
  type StartSessionRequest,
  type StoredAnswer,
} from "@proliferate/services/sessions";
import {
  createSessionRequestSchema,
  createSessionResponseSchema,
  launchedSessionSchema,
  resourceIdSchema,
  sessionListQuerySchema,
  sessionListResponseSchema,
  sessionSchema,
} from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { requireOrg } from "../../auth.ts";
import type { GatewayApp, SessionsDependencies } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import {
  answerFormer,
  answerLaunch,
  launchDependencies,
  launchFromRequest,
  LAUNCH_CODES,
  secretToken,
  type StartRequest,
  waitQuery,
} from "./launch-request.ts";
import { sandboxSettings } from "./sandbox-settings.ts";

const sessionPath = z.object({ session_id: resourceIdSchema });
const requestHeaders = z.object({
  "idempotency-key": z
    .string()
    .regex(/^[\x21-\x7e]{16,255}$/, "must be 16 to 255 visible characters, such as a UUID")
    .optional(),
  "x-repo-token": secretToken.optional(),
});
/** What the billing gate may answer, where it is on. */
const GATE_CODES = ["no_credits", "grace_expired", "billing_not_configured", "billing_state_blocked", "concurrent_session_limit"] as const;

const create = createRoute({
  method: "post",
  path: "/v1/sessions",
  summary: "Start a session, or resume it",
  description:
    "Mints a key that is limited to the session. Without a launcher it returns all that a sandbox needs; the id of " +
    "a running session of the same org then resumes it: a new key, then the old one is revoked. With a launcher " +
    "the gateway starts the sandbox: 202 at once, or with `wait=true` 201 when the agent answers. The same " +
    "`Idempotency-Key` with the same body is answered the same for 24 hours.",
  security: BEARER_SECURITY,
  request: { headers: requestHeaders, query: waitQuery, body: jsonBody(createSessionRequestSchema.meta({ id: "CreateSession" })) },
  responses: {
    201: json(
      "The session runs; its secrets are shown this once.",
      z.union([createSessionResponseSchema.meta({ id: "StartedSession" }), launchedSessionSchema.meta({ id: "LaunchedSession" })]),
    ),
    202: json("There is a key, and the sandbox is being launched; `events_url` tells how it goes.", launchedSessionSchema),
    ...errorResponses(
      "invalid_json",
      "request_too_large",
      "model_not_found",
      "session_conflict",
      "budget_exceeded",
      "llm_proxy_failed",
      "idempotency_conflict",
      "idempotency_in_progress",
      ...GATE_CODES,
      ...LAUNCH_CODES,
    ),
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

const endedSession = sessionSchema.omit({ billed: true, unbilled_spend_usd: true }).meta({ id: "EndedSession" });

const end = createRoute({
  method: "delete",
  path: "/v1/sessions/{session_id}",
  summary: "End a session",
  description:
    "Revokes every key of the session, ends the sandbox that the gateway launched for it, and settles its usage at " +
    "once. Answers within seconds, 202 while a launcher or the proxy hangs. Final and idempotent: ending it again " +
    "revokes again.",
  security: BEARER_SECURITY,
  request: { params: sessionPath },
  responses: {
    200: json("The session has ended.", endedSession),
    202: json(
      "The session is ending: its launcher or the proxy has not answered yet. It accepts no key, and ends by itself.",
      endedSession,
    ),
    ...errorResponses("session_not_found", "llm_proxy_failed", ...LAUNCH_CODES),
  },
});

/** How long the answer to an end waits for it; a caller's client gives up not long after. */
const END_WAIT_MS = 5_000;

/** `/v1/sessions`: parse, call one service function, reply. */
export function registerSessionRoutes(app: GatewayApp, deps: SessionsDependencies): void {
  const { db } = deps;
  app.openapi(create, async (context) => {
    const headers = context.req.valid("header");
    const body = context.req.valid("json");
    requireOrg(context, body.org_id);
    const request: StartRequest = { body, repoToken: headers["x-repo-token"], wait: context.req.valid("query").wait };
    const idempotencyKey = headers["idempotency-key"];
    const sessionId = body.session_id ?? `ses_${randomUUID()}`;
    const start = async (run: OneRun): Promise<StoredAnswer> => {
      const former = await answerFormer(deps, run, request);
      if (former) return former;
      return body.launcher === "none" ? startForCaller(deps, run.sessionId, request) : startWithSandbox(deps, run, request);
    };
    const answer =
      idempotencyKey === undefined
        ? await start({ sessionId, isKept: false, keep: async () => undefined })
        : await runOnce(
            db,
            {
              orgId: body.org_id,
              idempotencyKey,
              body: JSON.stringify([body, request.repoToken ?? null]),
              sessionId,
              instanceId: deps.instanceId,
            },
            start,
          );
    return context.json(answer.body as z.output<typeof createSessionResponseSchema>, answer.status as 201);
  });
  app.openapi(list, async (context) => {
    const { org_id: orgId, cursor, limit } = context.req.valid("query");
    return context.json(await listSessions(db, { orgId, cursor, limit }), 200);
  });
  app.openapi(get, async (context) => context.json(await getSession(db, context.req.valid("param").session_id), 200));
  app.openapi(end, async (context) => {
    const session = await endSessionWithin(launchDependencies(deps), context.req.valid("param").session_id, END_WAIT_MS);
    return context.json(describeSession(session), session.state === "ended" ? 200 : 202);
  });
}

/** The caller launches the sandbox: he gets the key and all that goes with it. */
async function startForCaller(deps: SessionsDependencies, sessionId: string, { body }: StartRequest): Promise<StoredAnswer> {
  const { proxy } = deps;
  if (body.files || body.repo || body.secrets)
    throw new AppError("invalid_request", "files, repo and secrets go into a sandbox that the gateway launches; name a launcher.", {
      param: "launcher",
    });
  const { session, apiKey, models, resumed } = await startSession(launchDependencies(deps), startFields(deps, sessionId, body));
  return {
    status: 201,
    body: {
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
  };
}

/** The gateway launches the sandbox: the key stays between the two. */
async function startWithSandbox(deps: SessionsDependencies, run: OneRun, request: StartRequest): Promise<StoredAnswer> {
  const { password, underWay } = await launchFromRequest(deps, startFields(deps, run.sessionId, request.body), request, run);
  return answerLaunch(underWay, password, request.wait);
}

function startFields(deps: SessionsDependencies, sessionId: string, body: StartRequest["body"]): StartSessionRequest {
  return {
    sessionId,
    orgId: body.org_id,
    userId: body.user_id,
    model: body.model,
    models: body.models,
    maxBudgetUsd: body.max_budget_usd,
    duration: body.duration,
    metadata: body.metadata,
    defaultModel: deps.defaultModel,
  };
}

import { OpenAPIHono } from "@hono/zod-openapi";
import { AppError } from "@proliferate/shared/errors";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { registerTokenRights, requireBearerToken } from "./auth.ts";
import type { GatewayApp, GatewayDependencies } from "./dependencies.ts";
import { BODY_LIMIT_BYTES, errorResponse } from "./error-response.ts";
import { registerOpenApiDocument } from "./openapi.ts";
import { requireStatedBody } from "./required-body.ts";
import { assignRequestId, type GatewayVariables } from "./request-id.ts";
import { registerAutumnWebhookRoute } from "./routes/autumn-webhooks.ts";
import { registerBillingRoutes } from "./routes/billing.ts";
import { registerBillingCheckRoutes } from "./routes/billing-checks.ts";
import { registerBillingDecisionRoutes } from "./routes/billing-decisions.ts";
import { registerBillingExportRoute } from "./routes/billing-export.ts";
import { registerBillingOrgRoutes } from "./routes/billing-orgs.ts";
import { registerHealthRoutes } from "./routes/health.ts";
import { registerMetricsRoute } from "./routes/metrics.ts";
import { registerOrgRoutes } from "./routes/orgs.ts";
import { registerRateCardRoutes } from "./routes/rate-cards.ts";
import { registerServiceTokenRoutes } from "./routes/service-tokens.ts";
import { registerSessionEventsRoute } from "./routes/session-events.ts";
import { registerSessionSandboxRoutes } from "./routes/session-sandboxes.ts";
import { registerSessionRoutes } from "./routes/sessions.ts";
import { registerTopUpRoutes } from "./routes/top-ups.ts";
import { refuseUnstorableAddress, refuseUnstorableBody } from "./storable-request.ts";

/** The control plane as a fetch handler: no port, no globals. `main.ts` puts it on a socket. */
export function createServer(deps: GatewayDependencies): GatewayApp {
  const app: GatewayApp = new OpenAPIHono<GatewayVariables>({
    defaultHook: (result) => {
      if (!result.success) throw validationError(result.error.issues);
    },
  });
  app.onError((error, context) => errorResponse(error, context, deps.logger));
  app.notFound((context) => errorResponse(unknownRoute(app, context.req.method, context.req.path), context, deps.logger));
  app.use(assignRequestId);
  app.use(refuseUnstorableAddress);
  app.use("/v1/*", requireBearerToken(deps.apiTokens, deps.db));
  registerTokenRights(app, deps.db);
  app.use(
    bodyLimit({
      maxSize: BODY_LIMIT_BYTES,
      onError: () => {
        throw new HTTPException(413);
      },
    }),
  );
  app.use("/v1/*", requireStatedBody(app));
  // Of those only who may be heard: a signed event is looked at by its route, before anything parses it.
  app.use("/v1/*", refuseUnstorableBody);
  registerSessionRoutes(app, deps);
  registerSessionSandboxRoutes(app, deps);
  registerSessionEventsRoute(app, deps);
  registerOrgRoutes(app, deps);
  registerBillingRoutes(app, deps);
  registerBillingCheckRoutes(app, deps);
  registerBillingExportRoute(app, deps);
  registerBillingOrgRoutes(app, deps);
  registerTopUpRoutes(app, deps);
  registerBillingDecisionRoutes(app, deps);
  registerRateCardRoutes(app, deps);
  registerServiceTokenRoutes(app, deps);
  registerAutumnWebhookRoute(app, deps);
  registerMetricsRoute(app, deps);
  registerHealthRoutes(app, deps);
  registerOpenApiDocument(app);
  return app;
}

/** One sentence per wrong field; the first one is named in `param`. */
function validationError(issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[]): AppError {
  const problems = issues.map((issue) => [issue.path.map(String).join("."), issue.message].filter((part) => part !== "").join(": "));
  const param = issues[0]?.path.map(String).join(".");
  return new AppError("invalid_request", `The request is not usable: ${problems.join("; ")}.`, param ? { param } : {});
}

function unknownRoute(app: GatewayApp, method: string, path: string): AppError {
  const allowed = app.routes
    .filter((route) => route.method !== "ALL" && new RegExp(`^${route.path.replaceAll(/:[^/]+/g, "[^/]+")}$`).test(path))
    .map((route) => route.method);
  if (allowed.length === 0) return new AppError("not_found", `There is no route ${path}; /openapi.json lists them.`);
  const allow = [...new Set(allowed)].join(", ");
  return new AppError("method_not_allowed", `${path} does not take ${method}; it takes ${allow}.`, { details: { allow } });
}

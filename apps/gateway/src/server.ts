import { OpenAPIHono } from "@hono/zod-openapi";
import { AppError } from "@proliferate/shared/errors";
import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { registerTokenRights, requireBearerToken } from "./auth.ts";
import type { GatewayApp, GatewayDependencies } from "./dependencies.ts";
import { BODY_LIMIT_BYTES, errorResponse } from "./error-response.ts";
import { registerOpenApiDocument } from "./openapi.ts";
import { requireStatedBody } from "./required-body.ts";
import { assignRequestId, type GatewayVariables } from "./request-id.ts";
import { type Audience, type Surface, surfaceOfPath, surfacesFor } from "./surface.ts";
import { SURFACES } from "./surfaces/index.ts";
import { refuseUnstorableAddress, refuseUnstorableBody } from "./storable-request.ts";

interface ServerOptions {
  /** Whose surfaces are served. Default: all of them. */
  readonly audience?: Audience;
  /** Default: those of the gateway. */
  readonly surfaces?: readonly Surface[];
}

/**
 * The control plane as a fetch handler: no port, no globals. `start-gateway.ts` puts one on each socket. A path of a surface that
 * is not served here is unknown here; its errors have that surface's envelope all the same.
 */
export function createServer(deps: GatewayDependencies, { audience = "joined", surfaces = SURFACES }: ServerOptions = {}): GatewayApp {
  const served = surfacesFor(audience, surfaces);
  const answerError = (error: unknown, context: Context<GatewayVariables>): Response =>
    errorResponse(error, context, deps.logger, surfaceOfPath(context.req.path, surfaces)?.envelope);
  const app: GatewayApp = new OpenAPIHono<GatewayVariables>({
    defaultHook: (result) => {
      if (!result.success) throw validationError(result.error.issues);
    },
  });
  app.onError(answerError);
  app.notFound((context) => answerError(unknownRoute(app, context.req.method, context.req.path), context));
  app.use(assignRequestId);
  app.use(refuseUnstorableAddress);
  app.use("/v1/*", requireBearerToken(deps.apiTokens, deps.db));
  registerTokenRights(
    app,
    deps.db,
    served.flatMap(({ rights }) => rights),
  );
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
  for (const surface of served) surface.register(app, deps);
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

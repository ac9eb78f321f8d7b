import { createHash, timingSafeEqual } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import { authenticateServiceToken } from "@proliferate/services/service-tokens";
import { isSessionOf } from "@proliferate/services/sessions";
import type { TokenScope } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import type { Context, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import type { GatewayApp } from "./dependencies.ts";
import type { GatewayVariables } from "./request-id.ts";
import { isUnder, type TokenRight } from "./surface.ts";

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/**
 * Lets a request pass that carries a root token or a live service token as `Authorization: Bearer`, and notes whose it is;
 * throws `unauthorized` otherwise. Compares digests of equal length and looks at every root token, so the time taken says
 * nothing about them.
 */
export function requireBearerToken(rootTokens: readonly string[], db: DatabaseClient): MiddlewareHandler<GatewayVariables> {
  const accepted = rootTokens.map(digest);
  return createMiddleware<GatewayVariables>(async (context, next) => {
    const sent = /^Bearer +(\S+) *$/i.exec(context.req.header("authorization") ?? "")?.[1];
    if (sent === undefined) throw new AppError("unauthorized", "The request has no bearer token.");
    const sentDigest = digest(sent);
    const isRoot = accepted.filter((token) => timingSafeEqual(token, sentDigest)).length > 0;
    // Only what can be a service token costs a question to the database.
    const caller = isRoot ? "root" : sent.startsWith("gwt_") ? await authenticateServiceToken(db, sent) : undefined;
    if (caller === undefined) throw new AppError("unauthorized", "The bearer token is not one of this gateway's.");
    context.set("caller", caller);
    await next();
  });
}

/** Whether a request only reads. HEAD is answered by the route of GET, so it needs what that needs. */
const isReading = (method: string): boolean => method === "GET" || method === "HEAD";

/** The right that covers a path; of two that fit, the longer one. */
function rightOf(path: string, rights: readonly TokenRight[]): TokenRight | undefined {
  return rights.filter(({ under }) => isUnder(path, under)).sort((one, other) => other.under.length - one.under.length)[0];
}

/**
 * Keeps service tokens within their scopes and their organization, on every route that is registered afterwards. `rights` say
 * what is needed; what none of them covers needs a root token.
 */
export function registerTokenRights(app: GatewayApp, db: DatabaseClient, rights: readonly TokenRight[]): void {
  app.use("/v1/*", async (context, next) => {
    const caller = context.get("caller");
    if (caller !== "root") {
      const { method, path } = context.req;
      const right = rightOf(path, rights);
      const scope: TokenScope | undefined = right && `${right.resource}:${isReading(method) ? "read" : "write"}`;
      if (scope === undefined || !caller.scopes.includes(scope))
        throw new AppError("insufficient_scope", `This token lacks what ${method} here needs: ${scope ?? "a root token"}.`);
      if (caller.orgId !== undefined && right?.organization === "all")
        throw new AppError("insufficient_scope", "This token is bound to an organization, and this route concerns all of them.");
    }
    await next();
  });
  for (const { under, organization } of rights) {
    const base = under.replace(/\/$/, "");
    if (organization === "of org_id") keepToOrg(app, base);
    if (organization === "of session_id") keepToSessionsOfOrg(app, base, db);
  }
}

function keepToOrg(app: GatewayApp, base: string): void {
  app.use(`${base}/:org_id/*`, async (context, next) => {
    requireOrg(context, context.req.param("org_id"));
    await next();
  });
}

function keepToSessionsOfOrg(app: GatewayApp, base: string, db: DatabaseClient): void {
  app.use(base, async (context, next) => {
    if (isReading(context.req.method)) requireOrg(context, context.req.query("org_id"));
    await next();
  });
  for (const path of [`${base}/:session_id`, `${base}/:session_id/*`] as const) {
    app.use(path, async (context, next) => {
      const caller = context.get("caller");
      const sessionId = context.req.param("session_id") ?? "";
      // Another organization's session is as one that does not exist.
      if (caller !== "root" && caller.orgId !== undefined && !(await isSessionOf(db, sessionId, caller.orgId)))
        throw new AppError("session_not_found", `There is no session ${sessionId}.`);
      await next();
    });
  }
}

/** Throws `insufficient_scope` for a token that is bound to another organization. */
export function requireOrg(context: Context<GatewayVariables>, orgId: string | undefined): void {
  const caller = context.get("caller");
  if (caller === "root" || caller.orgId === undefined || caller.orgId === orgId) return;
  throw new AppError("insufficient_scope", `This token is bound to the organization ${caller.orgId}.`, { param: "org_id" });
}

/** Throws `insufficient_scope` for whoever is not the operator. */
export const requireRoot = createMiddleware<GatewayVariables>(async (context, next) => {
  if (context.get("caller") !== "root") throw new AppError("insufficient_scope", "This route needs a root token.");
  await next();
});

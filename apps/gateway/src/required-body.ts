import { AppError } from "@proliferate/shared/errors";
import type { MiddlewareHandler } from "hono";
import type { GatewayApp } from "./dependencies.ts";
import type { GatewayVariables } from "./request-id.ts";

/**
 * Refuses a request without a body where its route requires one, as the document says; `{}` is a body. A body that may be left
 * out and one that was forgotten would otherwise look the same.
 */
export function requireStatedBody(app: GatewayApp): MiddlewareHandler<GatewayVariables> {
  let routes: readonly { readonly method: string; readonly path: RegExp }[] | undefined;
  return async (context, next) => {
    // Registered after this middleware, and complete with the first request.
    routes ??= app.openAPIRegistry.definitions.flatMap((definition) => {
      if (definition.type !== "route" || definition.route.request?.body?.required !== true) return [];
      return [
        { method: definition.route.method.toUpperCase(), path: new RegExp(`^${definition.route.path.replaceAll(/\{[^}]+\}/g, "[^/]+")}$`) },
      ];
    });
    const { method, path } = context.req;
    const isEmpty = context.req.header("transfer-encoding") === undefined && (context.req.header("content-length") ?? "0") === "0";
    if (isEmpty && routes.some((route) => route.method === method && route.path.test(path))) {
      throw new AppError("invalid_request", `${method} ${path} needs a JSON body; {} where there is nothing to say.`);
    }
    await next();
  };
}

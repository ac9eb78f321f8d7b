import { findUnstorable, isStorableText } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { createMiddleware } from "hono/factory";
import type { GatewayVariables } from "./request-id.ts";

/**
 * Refuses, before any route or right looks at it, an address that cannot be read as UTF-8 or holds NUL: ids of it go into
 * statements, and PostgreSQL refuses such text with an error that would look like ours.
 */
export const refuseUnstorableAddress = createMiddleware<GatewayVariables>(async (context, next) => {
  const { url } = context.req;
  const address = url.slice(url.indexOf("/", url.indexOf("://") + 3));
  if (!isStorableAddress(address))
    throw new AppError("invalid_request", "The path or the query of the request is not UTF-8, or has a NUL character.");
  await next();
});

function isStorableAddress(address: string): boolean {
  try {
    return isStorableText(decodeURIComponent(address));
  } catch {
    return false;
  }
}

/**
 * Refuses a JSON body that could not be stored or written again, whatever its route does with it. Parsed here once: the
 * routes read the same result. What is no JSON is told by the route, which knows whether it takes any.
 */
export const refuseUnstorableBody = createMiddleware<GatewayVariables>(async (context, next) => {
  if (/\bjson\b/i.test(context.req.header("content-type") ?? "")) {
    const body: unknown = await context.req.json().catch(() => undefined);
    const found = findUnstorable(body);
    if (found !== undefined)
      throw new AppError(
        "invalid_request",
        `The request is not usable: ${[found.path.join("."), found.problem].filter((part) => part !== "").join(": ")}.`,
        found.path.length > 0 ? { param: found.path.join(".") } : {},
      );
  }
  await next();
});

import { AppError } from "@proliferate/shared/errors";

/** A route of the data plane as `allowed_routes` of a key may name it. */
export interface OpenableRoute {
  /** Without `/v1`: a route is the same with and without it. */
  readonly path: string;
  /** LiteLLM's names for the groups of routes that it is of: `llm_api_routes`, `anthropic_routes`. */
  readonly groups: readonly string[];
}

/**
 * Whether one entry of `allowed_routes` opens a route: LiteLLM's name of a group, the path (`/v1/chat/completions`), what it lies under
 * (`/v1/messages` opens `/v1/messages/count_tokens`), or a beginning with a `*` at its end (`/v1/*`).
 */
export function opens(entry: string, { path, groups }: OpenableRoute): boolean {
  if (groups.includes(entry)) return true;
  return [path, `/v1${path}`].some((spelled) =>
    entry.endsWith("*") ? spelled.startsWith(entry.slice(0, -1)) : spelled === entry || spelled.startsWith(`${entry}/`),
  );
}

/** Throws `route_not_allowed` where a key has `allowed_routes`, and none of them opens the route. */
export function requireRouteAllowed({ allowedRoutes }: { readonly allowedRoutes: readonly string[] }, route: OpenableRoute): void {
  if (allowedRoutes.length === 0 || allowedRoutes.some((entry) => opens(entry, route))) return;
  throw new AppError("route_not_allowed", `The API key does not open ${route.path.slice(0, 128)}: its allowed_routes do not name it.`);
}

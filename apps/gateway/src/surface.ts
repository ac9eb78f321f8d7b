import type { TokenScope } from "@proliferate/shared/contracts";
import type { GatewayApp, GatewayDependencies } from "./dependencies.ts";
import type { ErrorEnvelope } from "./error-response.ts";

/** Whose requests a listener takes. `joined` is one listener for both. */
export type Audience = "tenants" | "operators" | "joined";

/**
 * What a service token needs for the paths of a surface; a root token needs nothing. A path that no right covers is the root
 * token's alone. Reading (GET, HEAD) needs `<resource>:read`, everything else `<resource>:write`.
 */
export interface TokenRight {
  /** As it begins: `/v1/orgs/` covers what lies below it, `/v1/sessions` also the path itself. */
  readonly under: `/v1/${string}`;
  readonly resource: TokenScope extends `${infer Resource}:${string}` ? Resource : never;
  /**
   * How the route's organization is known, to which a bound token is held: by `session_id` or `org_id` in the path (and by
   * `org_id` in the query of a list), or not at all, because the route concerns all organizations: then a bound token is refused.
   */
  readonly organization: "of session_id" | "of org_id" | "all";
}

/** Routes that one kind of caller uses, with all that they have in common. One folder each in `surfaces/`. */
export interface Surface {
  readonly name: string;
  /** Which listener serves it where there are two; `both` is for supervisors. */
  readonly audience: "tenants" | "operators" | "both";
  /** Beginnings of its paths; of two that fit, the longer one counts. `/` is for what belongs to no other surface. */
  readonly paths: readonly `/${string}`[];
  readonly rights: readonly TokenRight[];
  /** The body of every error under its paths, also of 401, 404, 405, 413 and 500. Absent: the gateway's own. */
  readonly envelope?: ErrorEnvelope;
  register(app: GatewayApp, dependencies: GatewayDependencies): void;
}

/** The surfaces that a listener with this audience serves. */
export function surfacesFor(audience: Audience, surfaces: readonly Surface[]): readonly Surface[] {
  return surfaces.filter((surface) => audience === "joined" || surface.audience === "both" || surface.audience === audience);
}

/** The surface that a path belongs to, whether or not it has a route there; undefined where none claims it. */
export function surfaceOfPath(path: string, surfaces: readonly Surface[]): Surface | undefined {
  const claims = surfaces.flatMap((surface) => surface.paths.filter((begin) => isUnder(path, begin)).map((begin) => ({ surface, begin })));
  return claims.sort((one, other) => other.begin.length - one.begin.length)[0]?.surface;
}

/** `/v1/orgs/` covers `/v1/orgs/a`; `/v1/sessions` covers itself and `/v1/sessions/a`, never `/v1/sessions-of-others`. */
export function isUnder(path: string, begin: string): boolean {
  return begin.endsWith("/") ? path.startsWith(begin) : path === begin || path.startsWith(`${begin}/`);
}

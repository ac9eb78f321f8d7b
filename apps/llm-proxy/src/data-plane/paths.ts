import { withoutTrailingSlashes } from "@proliferate/runtime";
import type { Dialect, DialectRoute } from "../dialects/dialect.ts";
import { DIALECTS } from "../providers/spoken-dialects.ts";

/** What a path on the data plane means. */
export type DataPlaneRoute =
  | (DialectRoute & { readonly dialect: Dialect })
  | { readonly kind: "models" }
  | { readonly kind: "model"; readonly id: string }
  | { readonly kind: "liveness" }
  | { readonly kind: "readiness" }
  | { readonly kind: "root" }
  | { readonly kind: "not_served"; readonly refusals: readonly [NotServed, ...NotServed[]] }
  | { readonly kind: "management" }
  | { readonly kind: "unknown" };

/** A part of a dialect's API that is not served, and the sentence that says why. */
export interface NotServed {
  readonly dialect: Dialect;
  readonly why: string;
}

/** By path; of several dialects where these share it. */
const NOT_SERVED = Map.groupBy(
  DIALECTS.flatMap((dialect) => Object.entries(dialect.notServed).map(([path, why]) => ({ path, dialect, why }))),
  ({ path }) => path,
);

const FIXED: Readonly<Record<string, DataPlaneRoute>> = {
  "/": { kind: "root" },
  // Claude Code asks whether anybody is there.
  "/api/hello": { kind: "root" },
  ...Object.fromEntries(
    DIALECTS.flatMap((dialect) => Object.entries(dialect.routes).map(([path, route]) => [path, { ...route, dialect }] as const)),
  ),
  "/models": { kind: "models" },
  "/health/liveliness": { kind: "liveness" },
  "/health/liveness": { kind: "liveness" },
  "/health/readiness": { kind: "readiness" },
};

/** The methods that a route takes. */
export const ROUTE_METHODS: Readonly<Record<DataPlaneRoute["kind"], readonly string[]>> = {
  answer: ["POST"],
  count_tokens: ["POST"],
  models: ["GET", "HEAD"],
  model: ["GET", "HEAD"],
  liveness: ["GET", "HEAD"],
  readiness: ["GET", "HEAD"],
  root: ["GET", "HEAD"],
  not_served: [],
  management: [],
  unknown: [],
};

/**
 * The route of a request target; the query does not matter. Clients differ in whether their base URL ends in `/v1`, so
 * `/v1/messages`, `/messages` and `/v1/v1/messages` are one route.
 */
export function routeOfPath(target: string): DataPlaneRoute {
  const short = shortPathOf(target);
  const fixed = Object.hasOwn(FIXED, short) ? FIXED[short] : undefined;
  if (fixed) return fixed;
  if (short.startsWith("/models/")) return { kind: "model", id: decode(short.slice("/models/".length)) };
  const refusals = notServedAt(short);
  if (refusals) return { kind: "not_served", refusals };
  return {
    kind: /^\/(audit|key|team|limit|tier|spend|user|budget|global|model|model_group|credentials|v2)(\/|$)/.test(short)
      ? "management"
      : "unknown",
  };
}

function notServedAt(path: string): readonly [NotServed, ...NotServed[]] | undefined {
  for (const [above, [first, ...others]] of NOT_SERVED)
    if (first && (path === above || path.startsWith(`${above}/`))) return [first, ...others];
  return undefined;
}

/** The path of a request target as routes are named: without `/v1`, query and slashes at its end. */
export function shortPathOf(target: string): string {
  const path = withoutTrailingSlashes(target.replace(/[?#].*$/s, "")) || "/";
  return path.replace(/^(?:\/v1){1,2}(?=\/)/, "");
}

/** `?…` of a request target, or ''. It is forwarded as it came. */
export function queryOf(target: string): string {
  const start = target.indexOf("?");
  return start < 0 ? "" : target.slice(start);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

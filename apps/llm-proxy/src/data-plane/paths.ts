import { withoutTrailingSlashes } from "@proliferate/runtime";
import type { AskedInPath } from "@proliferate/conversation";
import type { Dialect, DialectRoute } from "../dialects/dialect.ts";
import { DIALECTS } from "../providers/spoken-dialects.ts";

/** What a path on the data plane means. */
export type DataPlaneRoute =
  | (DialectRoute & { readonly dialect: Dialect; readonly inPath?: AskedInPath })
  | { readonly kind: "models"; readonly dialect?: Dialect }
  | { readonly kind: "model"; readonly id: string; readonly dialect?: Dialect }
  | { readonly kind: "liveness" }
  | { readonly kind: "readiness" }
  | { readonly kind: "root" }
  | { readonly kind: "not_served"; readonly refusals: readonly [NotServed, ...NotServed[]] }
  | { readonly kind: "management" }
  | { readonly kind: "unknown"; readonly dialect?: Dialect };

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

/** What a path with the name of a model in it means: between what stands before the name and behind it. */
interface Pattern {
  readonly before: string;
  readonly behind: string;
  readonly routeFor: (model: string) => DataPlaneRoute;
}

const PATTERNS: readonly Pattern[] = DIALECTS.flatMap((dialect) => [
  ...Object.entries(dialect.routes).flatMap(([path, route]) =>
    patternOf(path, (model) => ({ ...route, dialect, inPath: { model, isStream: route.isStream ?? false } })),
  ),
  ...Object.entries(dialect.notServed).flatMap(([path, why]) =>
    patternOf(path, () => ({ kind: "not_served", refusals: [{ dialect, why }] })),
  ),
]);

function patternOf(path: string, routeFor: Pattern["routeFor"]): readonly Pattern[] {
  const [before = "", behind] = path.split("{model}");
  return behind === undefined ? [] : [{ before, behind, routeFor }];
}

const VERSIONED = DIALECTS.flatMap((dialect) => (dialect.version === undefined ? [] : [{ dialect, prefix: `/${dialect.version}` }]));

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
  const named = routeWithModel(short);
  if (named) return named;
  if (short.startsWith("/models/")) return { kind: "model", id: decode(short.slice("/models/".length)) };
  const refusals = notServedAt(short);
  if (refusals) return { kind: "not_served", refusals };
  const versioned = VERSIONED.find(({ prefix }) => short === prefix || short.startsWith(`${prefix}/`));
  if (versioned) return routeOfVersion(versioned.dialect, short.slice(versioned.prefix.length));
  return {
    kind: /^\/(audit|key|team|limit|tier|spend|user|budget|global|model|model_group|credentials|v2)(\/|$)/.test(short)
      ? "management"
      : "unknown",
  };
}

/** Under a version of its own, or as clients write it that know one version only. */
function routeWithModel(short: string): DataPlaneRoute | undefined {
  if (!short.includes("/models/")) return undefined;
  for (const path of [short, ...VERSIONED.map(({ prefix }) => `${prefix}${short}`)]) {
    for (const { before, behind, routeFor } of PATTERNS) {
      if (path.startsWith(before) && path.endsWith(behind) && path.length > before.length + behind.length)
        return routeFor(decode(path.slice(before.length, path.length - behind.length)));
    }
  }
  return undefined;
}

function routeOfVersion(dialect: Dialect, path: string): DataPlaneRoute {
  if (path === "/models") return { kind: "models", dialect };
  // A method of a model that nobody knows is no model.
  if (path.startsWith("/models/") && !path.includes(":")) return { kind: "model", id: decode(path.slice("/models/".length)), dialect };
  return { kind: "unknown", dialect };
}

function notServedAt(path: string): readonly [NotServed, ...NotServed[]] | undefined {
  for (const [above, [first, ...others]] of NOT_SERVED)
    if (first && (path === above || path.startsWith(`${above}/`))) return [first, ...others];
  return undefined;
}

/** The path of a request target as routes are named: without `/v1`, query and slashes at its end, and with any other version once. */
export function shortPathOf(target: string): string {
  const path = withoutTrailingSlashes(target.replace(/[?#].*$/s, "")) || "/";
  return path.replace(/^(?:\/v1){1,2}(?=\/)/, "").replace(/^(\/v1\w+)\1(?=\/)/, "$1");
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

import type { OpenableRoute } from "@proliferate/access/principals";
import { DIALECTS } from "../providers/spoken-dialects.ts";
import { type DataPlaneRoute, routeOfPath, shortPathOf } from "./paths.ts";

/** LiteLLM's groups of routes that a route of the data plane is of, as `allowed_routes` of a key names them. */
function groupsOf(route: DataPlaneRoute): readonly string[] {
  switch (route.kind) {
    case "answer":
    case "count_tokens":
      return ["llm_api_routes", `${route.dialect.family}_routes`];
    case "models":
    case "model":
      return ["llm_api_routes", "openai_routes", "info_routes"];
    default:
      return [];
  }
}

/** The route of a request target, as a key may open it or not. */
export function openableRoute(target: string): OpenableRoute {
  const route = routeOfPath(target);
  const path = shortPathOf(target);
  const prefix = "inPath" in route && route.dialect.version !== undefined ? `/${route.dialect.version}` : "";
  // Whoever may list models under /v1 may not call them by a method that stands behind one.
  return { path: path.startsWith(`${prefix}/`) ? path : `${prefix}${path}`, groups: groupsOf(route) };
}

/** All routes that ask for a key, each once. */
export const OPENABLE_ROUTES: readonly OpenableRoute[] = [...DIALECTS.flatMap(({ routes }) => Object.keys(routes)), "/models"].map(
  openableRoute,
);

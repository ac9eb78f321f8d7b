import type { Surface } from "../../surface.ts";
import { registerHealthRoutes } from "./health.ts";
import { registerMetricsRoute } from "./metrics.ts";

/** `/health`, `/livez` and `/readyz`, for supervisors of either listener. They tell nothing that a token would protect. */
export const healthSurface: Surface = { name: "health", audience: "both", paths: ["/"], rights: [], register: registerHealthRoutes };

/** `/metrics`, for Prometheus: what all organizations spend shows in it. */
export const metricsSurface: Surface = {
  name: "metrics",
  audience: "operators",
  paths: ["/metrics"],
  rights: [],
  register: registerMetricsRoute,
};

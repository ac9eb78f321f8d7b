import { createRoute, z } from "@hono/zod-openapi";
import { createMetricsPage, isObserver } from "@proliferate/runtime";
import { collectBillingLags } from "@proliferate/services/metrics";
import { requireBearerToken, requireRoot } from "../../auth.ts";
import type { GatewayApp, ProcessDependencies } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../../openapi.ts";

const metrics = createRoute({
  method: "get",
  path: "/metrics",
  summary: "Lags and states of billing, and this process, for Prometheus",
  security: BEARER_SECURITY,
  responses: { 200: { description: "Prometheus' text format.", content: { "text/plain": { schema: z.string() } } }, ...errorResponses() },
});

/**
 * `/metrics`, for METRICS_TOKEN or a root token, from this machine, too: this port is often public by way of something on the
 * same machine, and what a company spends is nobody's business.
 */
export function registerMetricsRoute(app: GatewayApp, { db, apiTokens, metricsToken, counted }: ProcessDependencies): void {
  const page = createMetricsPage([{ name: "billing_lags", collect: () => collectBillingLags(db) }], counted);
  const requireToken = requireBearerToken(apiTokens, db);
  app.use("/metrics", async (context, next) => {
    if (isObserver({ headers: { authorization: context.req.header("authorization") }, remoteAddress: undefined }, metricsToken))
      return next();
    await requireToken(context, () => requireRoot(context, next).then(() => undefined));
  });
  app.openapi(metrics, async (context) => context.text(await page.text(), 200, { "content-type": page.contentType }));
}

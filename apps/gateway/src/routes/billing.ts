import { createRoute } from "@hono/zod-openapi";
import { getBillingStatus } from "@proliferate/services/billing/usage";
import { billingStatusSchema } from "@proliferate/shared/contracts";
import { billingStatusBody } from "../billing-body.ts";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../openapi.ts";

const status = createRoute({
  method: "get",
  path: "/v1/billing/status",
  summary: "Where every credit of this deployment is now",
  security: BEARER_SECURITY,
  responses: {
    200: { description: "Over all orgs.", content: { "application/json": { schema: billingStatusSchema.meta({ id: "BillingStatus" }) } } },
    ...errorResponses(),
  },
});

/** `/v1/billing`: the state of billing as a whole, for operators. */
export function registerBillingRoutes(app: GatewayApp, { db }: GatewayDependencies): void {
  app.openapi(status, async (context) => context.json(billingStatusBody(await getBillingStatus(db)), 200));
}

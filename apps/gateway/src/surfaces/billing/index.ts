import type { Surface } from "../../surface.ts";
import { registerBillingRoutes } from "./billing.ts";
import { registerBillingCheckRoutes } from "./billing-checks.ts";
import { registerBillingDecisionRoutes } from "./billing-decisions.ts";
import { registerBillingExportRoute } from "./billing-export.ts";
import { registerBillingOrgRoutes } from "./billing-orgs.ts";
import { registerPayerRoutes } from "./payers.ts";
import { registerRateCardRoutes } from "./rate-cards.ts";
import { registerTopUpRoutes } from "./top-ups.ts";

/** Billing as a whole and what operators decide; the same functions as the command line. */
export const billingSurface: Surface = {
  name: "billing",
  audience: "operators",
  paths: ["/v1/billing"],
  rights: [{ under: "/v1/billing/", resource: "billing", organization: "all" }],
  register: (app, dependencies) => {
    registerBillingRoutes(app, dependencies);
    registerBillingCheckRoutes(app, dependencies);
    registerBillingExportRoute(app, dependencies);
    registerBillingOrgRoutes(app, dependencies);
    registerPayerRoutes(app, dependencies);
    registerTopUpRoutes(app, dependencies);
    registerBillingDecisionRoutes(app, dependencies);
    registerRateCardRoutes(app, dependencies);
  },
};

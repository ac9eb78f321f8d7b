import type { Surface } from "../../surface.ts";
import { registerOrgRoutes } from "./orgs.ts";

/** What one organization used and owes, for the organization itself. */
export const orgsSurface: Surface = {
  name: "orgs",
  audience: "tenants",
  paths: ["/v1/orgs"],
  rights: [{ under: "/v1/orgs/", resource: "billing", organization: "of org_id" }],
  register: (app, dependencies) => {
    registerOrgRoutes(app, dependencies);
  },
};

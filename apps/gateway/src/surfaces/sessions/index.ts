import type { Surface } from "../../surface.ts";
import { registerSessionEventsRoute } from "./session-events.ts";
import { registerSessionSandboxRoutes } from "./session-sandboxes.ts";
import { registerSessionRoutes } from "./sessions.ts";

/** Sessions, their keys, sandboxes and events, for the backends of organizations. */
export const sessionsSurface: Surface = {
  name: "sessions",
  audience: "tenants",
  paths: ["/v1/sessions"],
  rights: [{ under: "/v1/sessions", resource: "sessions", organization: "of session_id" }],
  register: (app, dependencies) => {
    registerSessionRoutes(app, dependencies);
    registerSessionSandboxRoutes(app, dependencies);
    registerSessionEventsRoute(app, dependencies);
  },
};

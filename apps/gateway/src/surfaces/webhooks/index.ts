import type { Surface } from "../../surface.ts";
import { registerAutumnWebhookRoute } from "./autumn-webhooks.ts";

/** Signed events of outside services; a signature stands for a token. */
export const webhooksSurface: Surface = {
  name: "webhooks",
  audience: "tenants",
  paths: ["/webhooks"],
  rights: [],
  register: (app, dependencies) => {
    registerAutumnWebhookRoute(app, dependencies);
  },
};

import type { Surface } from "../../surface.ts";
import { registerServiceTokenRoutes } from "./service-tokens.ts";

/** Service tokens. No right covers them: only a root token makes, sees or revokes one. */
export const tokensSurface: Surface = {
  name: "tokens",
  audience: "operators",
  paths: ["/v1/tokens"],
  rights: [],
  register: (app, dependencies) => {
    registerServiceTokenRoutes(app, dependencies);
  },
};

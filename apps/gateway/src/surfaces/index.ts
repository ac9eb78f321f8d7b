import type { Surface } from "../surface.ts";
import { billingSurface } from "./billing/index.ts";
import { orgsSurface } from "./orgs/index.ts";
import { healthSurface, metricsSurface } from "./process/index.ts";
import { sessionsSurface } from "./sessions/index.ts";
import { tokensSurface } from "./tokens/index.ts";
import { webhooksSurface } from "./webhooks/index.ts";

/** Every surface of the gateway; a new one is its folder and its line here. */
export const SURFACES: readonly Surface[] = [
  sessionsSurface,
  orgsSurface,
  billingSurface,
  tokensSurface,
  webhooksSurface,
  metricsSurface,
  healthSurface,
];

import type { Deployment } from "../config/model-table.ts";

/**
 * One place where deployments come from: `litellm/config.yaml`, presets of the environment, a credentials file, the providers that
 * operators keep in the database, a workspace's own keys. A source reads and checks its place; what it says is immutable.
 */
export interface CatalogueSource {
  /** As an operator finds it, to name it in an error: `litellm/config.yaml`, `workspace ws_1`. */
  readonly name: string;
  /** The team whose callers alone it serves, before what serves everybody. Undefined: everybody. */
  readonly teamId?: string;
  /** In order. A `model_name` is its id: no two sources of the same callers may have it. */
  readonly deployments: readonly Deployment[];
}

/** What of a principal decides what it can call. */
export interface CataloguePrincipal {
  readonly teamId: string | null;
}

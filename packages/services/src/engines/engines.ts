import { AppError } from "@proliferate/shared/errors";

/**
 * The one table of what the two engines can do: stock LiteLLM and ours read one config.yaml and write one spend table, but are not
 * equal. What neither can do yet stands here too, so that asking for it is refused by name. The gateway reads it at its start, and the documentation is written from it (docs/engines.md).
 */

/** Who answers at `LLM_PROXY_URL`. */
export type Engine = "litellm" | "ours";

export const ENGINES: readonly Engine[] = ["litellm", "ours"];

interface FeatureRow {
  readonly litellm: boolean;
  readonly ours: boolean;
  /** What it is, for operators. */
  readonly what: string;
}

const row = (litellm: boolean, ours: boolean, what: string): FeatureRow => ({ litellm, ours, what });

// A table is read by its rows: one line each.
// oxfmt-ignore
export const ENGINE_FEATURES = {
  mint_keys: row(true, true, "Keys of sessions and workspaces are minted, limited in money and time, and revoked over the management API."),
  team_caps: row(true, true, "A cap in USD over all keys of a team."),
  key_budgets: row(true, true, "Budgets of living keys follow the balance; keys of exhausted organizations are blocked (`BILLING_GATE=enforce`)."),
  own_keys_by_alias: row(true, true, "A workspace's own provider keys, as models of its own in config.yaml."),
  spend_rows: row(true, true, "Usage and cost of each request as a row that billing reads."),
  exact_caps: row(false, true, "A budget is overshot by one request at most, however many ask at once, over all processes."),
  immediate_revocation: row(false, true, "A revoked key is refused with its next request; stock LiteLLM caches keys for up to a minute."),
  row_before_end: row(false, true, "A caller that saw the end of its answer has its spend row (the end waits for it, 3 s at most while the " +
"database is away); stock LiteLLM writes in batches and can lose the newest."),
  management_listener: row(false, true, "The management API on a port of its own, so that no tunnel exposes it."),
  request_limits: row(false, true, "Limits in USD, requests, tokens or requests at a time, of a minute to a month, on key, user, team, payer or each user of a tier, 100 each (`POST /limit/set`)."),
  model_rewrites: row(false, false, "Not built yet. A tier's or a member's models are rewritten, and the caller is told."),
  grace_by_limit: row(false, false, "Not built yet. Grace after the last credit as a limit of its own on each request."),
  hub: row(false, false, "Not built yet. Team Hub: its tokens, its routes and its month of tokens."),
} as const satisfies Record<string, FeatureRow>;

export type EngineFeature = keyof typeof ENGINE_FEATURES;

/** A setting that asks the engine for something. */
export interface EngineDemand {
  /** As the operator wrote it: `BILLING_GATE=enforce`. */
  readonly setting: string;
  readonly feature: EngineFeature;
}

/** Throws `engine_lacks_feature`, naming each setting that asks for what the engine cannot do. */
export function requireEngineFeatures(engine: Engine, demands: readonly EngineDemand[]): void {
  const lacking = demands.filter(({ feature }) => !ENGINE_FEATURES[feature][engine]);
  if (lacking.length === 0) return;
  const named = lacking.map(({ setting, feature }) => `${setting} (${feature})`).join(", ");
  throw new AppError("engine_lacks_feature", `LLM_PROXY_ENGINE is ${engine}, which cannot do what is asked of it: ${named}.`);
}

import type { PricedClass } from "../usage/index.ts";

/** Which rate a setting of LiteLLM's config.yaml sets. */
export interface RateSetting {
  readonly class: PricedClass;
  /** In the tier above so many tokens; undefined: below all tiers. */
  readonly aboveTokens: number | undefined;
  /** In a service tier, as usage reports it; undefined: the standard one. */
  readonly serviceTier: string | undefined;
}

const CLASSES: Readonly<Record<string, PricedClass>> = {
  input_cost_per_token: "inputTokens",
  output_cost_per_token: "outputTokens",
  cache_read_input_token_cost: "cacheReadTokens",
  cache_creation_input_token_cost: "cacheWrite5mTokens",
  cache_creation_input_token_cost_above_1hr: "cacheWrite1hTokens",
  input_cost_per_audio_token: "audioInputTokens",
  cache_read_input_audio_token_cost: "audioCacheReadTokens",
  output_cost_per_audio_token: "audioOutputTokens",
};

const SERVICE_TIERS: Readonly<Record<string, string>> = { priority: "priority", flex: "flex", batches: "batch" };

/** `input_cost_per_token`, `cache_read_input_token_cost_above_200k_tokens_priority` …; undefined for a name that sets no rate here. */
export function readRateSetting(name: string): RateSetting | undefined {
  const [, rate = "", thousands, variant] = /^(.+?)(?:_above_(\d+)k_tokens)?(?:_(priority|flex|batches))?$/.exec(name) ?? [];
  const priced = Object.hasOwn(CLASSES, rate) ? CLASSES[rate] : undefined;
  if (priced === undefined) return undefined;
  return {
    class: priced,
    aboveTokens: thousands === undefined ? undefined : Number(thousands) * 1_000,
    serviceTier: variant === undefined ? undefined : SERVICE_TIERS[variant],
  };
}

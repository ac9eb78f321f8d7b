import type { PriceOverride } from "@proliferate/services/pricing/price-override";
import { overridePrice } from "@proliferate/services/pricing/price-override";
import { findListedModel } from "@proliferate/services/pricing/price-table";
import type { PriceSchedule } from "@proliferate/services/pricing/price";
import type { EnvironmentSource } from "@proliferate/shared/env";
import { readReference, referenceTo } from "./environment-reference.ts";
import type { Deployment, Provider } from "./model-table.ts";
import type { YamlCursor } from "./yaml-cursor.ts";

/** Where a provider is when config.yaml does not say, and the variable that LiteLLM takes its key from by default. */
const PROVIDERS: Readonly<Record<Provider, { readonly apiBase: string; readonly apiKeyVariable: string }>> = {
  anthropic: { apiBase: "https://api.anthropic.com", apiKeyVariable: "ANTHROPIC_API_KEY" },
  openai: { apiBase: "https://api.openai.com", apiKeyVariable: "OPENAI_API_KEY" },
};

/** Reads one entry of `model_list`. Throws `config_invalid`. */
export function readDeployment(entry: YamlCursor, environment: EnvironmentSource): Deployment {
  const modelName = entry.get("model_name").text();
  if (!modelName) throw entry.error("has no model_name; add `model_name: NAME`, the name that callers use");
  if (modelName.includes("*")) throw entry.get("model_name").error(`"${modelName}" is a pattern; name each model, as only a named one has a price`);
  const params = entry.get("litellm_params");
  if (!params.exists) throw entry.error("has no litellm_params; add it with `model: anthropic/NAME` or `model: openai/NAME`");
  const { provider, model, upstreamModel } = readModel(params);
  const key = readReference(params.get("api_key"), environment) ?? referenceTo(PROVIDERS[provider].apiKeyVariable, environment);
  const prices = readPrices(entry, modelName, provider, upstreamModel);
  const listed = findListedModel(provider, upstreamModel);
  return {
    modelName,
    provider,
    model,
    upstreamModel,
    apiBase: readApiBase(params.get("api_base"), provider, environment),
    apiKey: key.value,
    apiKeyVariable: key.variable,
    prices,
    priceId: prices.id,
    contextTokens: listed?.contextTokens,
    maxOutputTokens: entry.get("model_info").get("max_output_tokens").number(1, "whole") ?? listed?.maxOutputTokens,
  };
}

function readModel(params: YamlCursor): Pick<Deployment, "provider" | "model" | "upstreamModel"> {
  const cursor = params.get("model");
  const model = cursor.text();
  if (!model) throw params.error("has no model; add `model: anthropic/NAME` or `model: openai/NAME`");
  const [, provider, upstreamModel] = /^([^/]+)\/(.+)$/.exec(model) ?? [];
  if (provider === undefined || upstreamModel === undefined) throw cursor.error(`"${model}" does not name its provider; write anthropic/${model} or openai/${model}`);
  if (!isProvider(provider)) throw cursor.error(`"${model}" is of the provider "${provider}"; only anthropic/ and openai/ are served`);
  return { provider, model, upstreamModel };
}

function isProvider(name: string): name is Provider {
  return Object.hasOwn(PROVIDERS, name);
}

/** With or without `/v1`, for either provider; LiteLLM wants it without for Anthropic and with it for OpenAI. */
function readApiBase(cursor: YamlCursor, provider: Provider, environment: EnvironmentSource): string {
  const reference = readReference(cursor, environment);
  const apiBase = reference?.value ?? PROVIDERS[provider].apiBase;
  const url = URL.canParse(apiBase) ? new URL(apiBase) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) throw cursor.error(`${reference?.variable ? `(${reference.variable}) ` : ""}is not an http:// or https:// URL`);
  if (url.search || url.hash || url.username) throw cursor.error("has a query, a fragment or a user in its URL; write only scheme, host and path");
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "").replace(/\/v1$/, "");
}

/** LiteLLM's names for our rates. */
const RATE_SETTINGS = {
  inputUsd: "input_cost_per_token",
  outputUsd: "output_cost_per_token",
  cacheReadUsd: "cache_read_input_token_cost",
  cacheWrite5mUsd: "cache_creation_input_token_cost",
  cacheWrite1hUsd: "cache_creation_input_token_cost_above_1hr",
} as const satisfies Record<keyof PriceOverride, string>;

/** `model_info` first, then `litellm_params`, where LiteLLM reads rates as well. Text stays text: no float is made of a rate. */
function readPrices(entry: YamlCursor, modelName: string, provider: Provider, upstreamModel: string): PriceSchedule {
  const listed = findListedModel(provider, upstreamModel);
  const settings = Object.entries(RATE_SETTINGS).flatMap(([rate, name]) => {
    const cursor = [entry.get("model_info").get(name), entry.get("litellm_params").get(name)].find((candidate) => candidate.exists);
    return cursor ? [{ rate, cursor }] : [];
  });
  for (const { cursor } of settings) checkRate(cursor);
  const override: PriceOverride = Object.fromEntries(settings.map(({ rate, cursor }) => [rate, cursor.text()]));
  if (settings.length === 0 && listed) return listed.prices;
  const price = overridePrice(modelName, listed?.prices.at(new Date()), override);
  if (price) return { id: price.id, at: () => price };
  const missing = "add model_info with input_cost_per_token and output_cost_per_token (USD, as decimals)";
  throw entry.error(`("${modelName}") has no price: ${provider}/${upstreamModel} is not in the price table; ${missing}`);
}

function checkRate(cursor: YamlCursor): void {
  const text = cursor.text() ?? "";
  try {
    overridePrice("", undefined, { inputUsd: text, outputUsd: text });
  } catch {
    throw cursor.error(`"${text}" is not a price; write USD per token as a decimal of at most 12 places, such as 0.000003`);
  }
}

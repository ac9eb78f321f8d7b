import { findListedModel } from "@proliferate/metering/pricing/price-table";
import type { EnvironmentSource } from "@proliferate/shared/env";
import { readReference, referenceTo } from "./environment-reference.ts";
import type { Deployment, Provider } from "./model-table.ts";
import { readContextTokens, readMaxOutputTokens, readPrices, refuseLimits } from "./model-price.ts";
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
  if (modelName.includes("*"))
    throw entry.get("model_name").error(`"${modelName}" is a pattern; name each model, as only a named one has a price`);
  const params = entry.get("litellm_params");
  if (!params.exists) throw entry.error("has no litellm_params; add it with `model: anthropic/NAME` or `model: openai/NAME`");
  const { provider, model, upstreamModel } = readModel(params);
  const key = readReference(params.get("api_key"), environment) ?? referenceTo(PROVIDERS[provider].apiKeyVariable, environment);
  const apiBase = readApiBase(params.get("api_base"), provider, environment);
  const listed = findListedModel(provider, entry.get("model_info").get("base_model").text()?.replace(`${provider}/`, "") ?? upstreamModel);
  refuseLimits(entry);
  const prices = readPrices(entry, modelName, listed, new URL(apiBase).hostname);
  const maxOutputTokens = readMaxOutputTokens(entry) ?? listed?.maxOutputTokens;
  return {
    modelName,
    provider,
    model,
    upstreamModel,
    apiBase,
    apiKey: key.value,
    apiKeyVariable: key.variable,
    prices,
    priceId: prices?.id ?? `unpriced:${modelName}`,
    contextTokens: readContextTokens(entry, maxOutputTokens) ?? listed?.contextTokens,
    maxOutputTokens,
    retiresOn: listed?.retiresOn,
  };
}

function readModel(params: YamlCursor): Pick<Deployment, "provider" | "model" | "upstreamModel"> {
  const cursor = params.get("model");
  const model = cursor.text();
  if (!model) throw params.error("has no model; add `model: anthropic/NAME` or `model: openai/NAME`");
  const [, provider, upstreamModel] = /^([^/]+)\/(.+)$/.exec(model) ?? [];
  if (provider === undefined || upstreamModel === undefined)
    throw cursor.error(`"${model}" does not name its provider; write anthropic/${model} or openai/${model}`);
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
  if (!url || !/^https?:$/.test(url.protocol))
    throw cursor.error(`${reference?.variable ? `(${reference.variable}) ` : ""}is not an http:// or https:// URL`);
  if (url.search || url.hash || url.username)
    throw cursor.error("has a query, a fragment or a user in its URL; write only scheme, host and path");
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "").replace(/\/v1$/, "");
}

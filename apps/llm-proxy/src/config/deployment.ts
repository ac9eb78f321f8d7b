import { findListedModel } from "@proliferate/metering/pricing";
import type { EnvironmentSource } from "@proliferate/shared/env";
import type { Provider } from "../providers/provider.ts";
import { answerRoute, type Dialect } from "../dialects/dialect.ts";
import { findProvider, PROVIDERS } from "../providers/registry.ts";
import { readReference, referenceTo } from "./environment-reference.ts";
import type { Deployment } from "./model-table.ts";
import { readContextTokens, readMaxOutputTokens, readPrices, refuseLimits } from "./model-price.ts";
import type { YamlCursor } from "./yaml-cursor.ts";

/** Reads one entry of `model_list`. Throws `config_invalid`. */
export function readDeployment(entry: YamlCursor, environment: EnvironmentSource): Deployment {
  const modelName = entry.get("model_name").text();
  if (!modelName) throw entry.error("has no model_name; add `model_name: NAME`, the name that callers use");
  if (modelName.includes("*"))
    throw entry.get("model_name").error(`"${modelName}" is a pattern; name each model, as only a named one has a price`);
  const params = entry.get("litellm_params");
  if (!params.exists) throw entry.error(`has no litellm_params; add it with \`model: ${prefixes(" or ", "NAME")}\``);
  const { provider, model, upstreamModel } = readModel(params);
  const key = readReference(params.get("api_key"), environment) ?? referenceTo(provider.apiKeyVariable, environment);
  const apiBase = readApiBase(params.get("api_base"), provider, environment);
  const listed = findListedModel(
    provider.name,
    entry.get("model_info").get("base_model").text()?.replace(`${provider.name}/`, "") ?? upstreamModel,
  );
  refuseLimits(entry);
  const prices = readPrices(entry, modelName, listed, new URL(apiBase).hostname);
  const maxOutputTokens = readMaxOutputTokens(entry) ?? listed?.maxOutputTokens;
  return {
    modelName,
    provider,
    dialects: readDialects(entry, provider, apiBase),
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

/**
 * `model_info.supported_endpoints`, as LiteLLM has it, bounds what the provider speaks; then a caller of another dialect is translated for the first of
 * the list. Without it everything that the provider speaks at that address.
 */
function readDialects(entry: YamlCursor, provider: Provider, apiBase: string): readonly Dialect[] {
  const { dialects, compatibleDialects = dialects } = provider;
  const spoken: readonly Dialect[] = apiBase === provider.apiBase ? dialects : compatibleDialects;
  const cursor = entry.get("model_info").get("supported_endpoints");
  if (!cursor.exists) return spoken;
  const endpoints = cursor.items().map((item) => item.text());
  const served = endpoints.flatMap((endpoint) => spoken.filter((dialect) => answerRoute(dialect) === endpoint));
  if (served.length > 0) return served;
  throw cursor.error(`has none of ${spoken.map(answerRoute).join(", ")}, which are what is served of this provider`);
}

function readModel(params: YamlCursor): Pick<Deployment, "provider" | "model" | "upstreamModel"> {
  const cursor = params.get("model");
  const model = cursor.text();
  if (!model) throw params.error(`has no model; add \`model: ${prefixes(" or ", "NAME")}\``);
  const [, name, upstreamModel] = /^([^/]+)\/(.+)$/.exec(model) ?? [];
  if (name === undefined || upstreamModel === undefined)
    throw cursor.error(`"${model}" does not name its provider; write ${prefixes(" or ", model)}`);
  const provider = findProvider(name);
  if (!provider) throw cursor.error(`"${model}" is of the provider "${name}"; only ${prefixes(" and ", "")} are served`);
  return { provider, model, upstreamModel };
}

/** `anthropic/NAME or openai/NAME`, of every provider. */
function prefixes(between: string, name: string): string {
  const all = PROVIDERS.map((provider) => `${provider.name}/${name}`);
  return [all.slice(0, -1).join(", "), all.at(-1)].join(between);
}

/** With or without its version, for every provider; LiteLLM wants it without for Anthropic and with it for OpenAI. */
function readApiBase(cursor: YamlCursor, provider: Provider, environment: EnvironmentSource): string {
  const reference = readReference(cursor, environment) ?? referenceTo(provider.apiBaseVariable, environment);
  const apiBase = reference?.value ?? provider.apiBase;
  const url = URL.canParse(apiBase) ? new URL(apiBase) : undefined;
  if (!url || !/^https?:$/.test(url.protocol))
    throw cursor.error(`${reference?.variable ? `(${reference.variable}) ` : ""}is not an http:// or https:// URL`);
  if (url.search || url.hash || url.username)
    throw cursor.error("has a query, a fragment or a user in its URL; write only scheme, host and path");
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "").replace(/\/v1(?:beta)?$/, "");
}

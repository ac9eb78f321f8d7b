import { createHash } from "node:crypto";
import type { Price } from "@proliferate/metering/pricing";
import type { PricedClass } from "@proliferate/metering/usage";
import { AppError } from "@proliferate/shared/errors";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import { z } from "zod";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Deployment } from "../config/model-table.ts";
import { parseQuery, type Route } from "./route.ts";

/** LiteLLM's constant: models have no date of birth. */
const CREATED = 1_677_610_602;

const modelInfoQuerySchema = z.looseObject({ litellm_model_id: z.string().optional() });
const modelPageQuerySchema = modelInfoQuerySchema.extend({
  model: z.string().optional(),
  page: z.coerce.number().int().min(1).default(1),
  size: z.coerce.number().int().min(1).max(1_000).default(50),
});
const modelGroupQuerySchema = z.looseObject({ model_group: z.string().optional() });

/** What can be called, in LiteLLM's shapes: `/models`, `/model/info`, `/model_group/info`. Of what serves everybody; no credential is shown. */
export function modelRoutes(catalogue: Pick<Catalogue, "current">): readonly Route[] {
  const deployments = (): readonly Deployment[] => catalogue.current.everybody.list();
  const info: Route["handle"] = async ({ query }) => modelInfo(deployments(), parseQuery(modelInfoQuerySchema, query));
  const list: Route["handle"] = async () => ({ data: deployments().map(modelView), object: "list" });
  const one: Route["handle"] = async ({ names }) => modelView(requireModel(deployments(), names["model_id"] ?? ""));
  return [
    { method: "GET", path: "/models", handle: list },
    { method: "GET", path: "/v1/models", handle: list },
    { method: "GET", path: "/models/{model_id}", handle: one },
    { method: "GET", path: "/v1/models/{model_id}", handle: one },
    { method: "GET", path: "/model/info", handle: info },
    { method: "GET", path: "/v1/model/info", handle: info },
    {
      method: "GET",
      path: "/v2/model/info",
      handle: async ({ query }) => modelPage(deployments(), parseQuery(modelPageQuerySchema, query)),
    },
    {
      method: "GET",
      path: "/model_group/info",
      handle: async ({ query }) => {
        const { model_group: only } = parseQuery(modelGroupQuerySchema, query);
        return {
          data: deployments().flatMap((deployment) => (only === undefined || deployment.modelName === only ? [groupView(deployment)] : [])),
        };
      },
    },
  ];
}

function requireModel(deployments: readonly Deployment[], name: string): Deployment {
  const found = deployments.find(({ modelName }) => modelName === name);
  if (found) return found;
  throw new AppError("model_not_found", `The model \`${name.slice(0, 128)}\` does not exist or is not accessible`, { param: "model" });
}

function modelInfo(deployments: readonly Deployment[], query: z.output<typeof modelInfoQuerySchema>): unknown {
  const views = deployments.map(infoView);
  const { litellm_model_id: id } = query;
  if (id === undefined) return { data: views };
  const found = views.filter(({ model_info: info }) => info.id === id);
  if (found.length > 0) return { data: found };
  throw new AppError("invalid_request", `Model id = ${id.slice(0, 128)} not found on litellm proxy`, { param: "litellm_model_id" });
}

function modelPage(deployments: readonly Deployment[], query: z.output<typeof modelPageQuerySchema>): unknown {
  const { page, size, model, litellm_model_id: id } = query;
  const views = deployments
    .filter(({ modelName }) => model === undefined || modelName === model)
    .map(infoView)
    .filter(({ model_info: info }) => id === undefined || info.id === id);
  return {
    data: views.slice((page - 1) * size, page * size),
    total_count: views.length,
    current_page: page,
    total_pages: Math.ceil(views.length / size),
    size,
  };
}

function modelView(deployment: Deployment): unknown {
  const { modelName, provider, contextTokens = null, maxOutputTokens = null } = deployment;
  return {
    id: modelName,
    object: "model",
    created: CREATED,
    owned_by: provider.name,
    mode: "chat",
    max_input_tokens: contextTokens,
    max_output_tokens: maxOutputTokens,
  };
}

function infoView(deployment: Deployment) {
  const { modelName, provider, model, upstreamModel, apiBase, contextTokens = null, maxOutputTokens = null, prices } = deployment;
  return {
    model_name: modelName,
    litellm_params: { api_base: apiBase, model },
    model_info: {
      // The same after a restart with the same entry, and another one for an entry that leads elsewhere.
      id: createHash("sha256")
        .update(JSON.stringify([modelName, model, apiBase]))
        .digest("hex"),
      db_model: false,
      key: upstreamModel,
      litellm_provider: provider.name,
      mode: "chat",
      max_tokens: maxOutputTokens,
      max_input_tokens: contextTokens,
      max_output_tokens: maxOutputTokens,
      ...pricesView(prices?.at(new Date())),
    },
  };
}

function groupView(deployment: Deployment): unknown {
  const { modelName, provider, contextTokens = null, maxOutputTokens = null, prices } = deployment;
  const price = pricesView(prices?.at(new Date()));
  return {
    model_group: modelName,
    providers: [provider.name],
    max_input_tokens: contextTokens,
    max_output_tokens: maxOutputTokens,
    input_cost_per_token: price.input_cost_per_token,
    output_cost_per_token: price.output_cost_per_token,
    mode: "chat",
    tpm: null,
    rpm: null,
    is_public_model_group: false,
  };
}

/** USD per token of a short prompt at standard speed, as JSON numbers, for display; null where the model has no price: its calls are refused. */
function pricesView(price: Price | undefined) {
  const usd = (tokens: PricedClass): number | null => {
    if (price === undefined) return null;
    const { numerator, denominator } = price.multiplier;
    return Number(decimalFromPicoUsd((price.rates[tokens] * numerator) / denominator));
  };
  return {
    input_cost_per_token: usd("inputTokens"),
    output_cost_per_token: usd("outputTokens"),
    cache_read_input_token_cost: usd("cacheReadTokens"),
    cache_creation_input_token_cost: usd("cacheWrite5mTokens"),
    cache_creation_input_token_cost_above_1hr: usd("cacheWrite1hTokens"),
  };
}

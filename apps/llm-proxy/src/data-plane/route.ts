import { AppError } from "@proliferate/shared/errors";
import type { Deployment, ModelTable } from "../config/model-table.ts";
import type { Dialect } from "./dialect.ts";

export type { Deployment };

/** Who serves a model, with the key to do it. */
export interface RoutedModel {
  readonly deployment: Deployment;
  readonly apiKey: string;
}

const ROUTE_OF_DIALECT: Readonly<Record<Dialect, string>> = { anthropic: "/v1/messages", openai: "/v1/chat/completions" };

/**
 * The deployment that serves a model in a dialect. Throws `model_not_found`, `model_dialect_mismatch` (it is served, on
 * another route) and `provider_key_missing`.
 */
export function routeModel(models: ModelTable, model: string, dialect: Dialect): RoutedModel {
  const deployment = models.find(model);
  // A name is the caller's text: shortened, so that no body ends up in a log.
  if (!deployment) throw new AppError("model_not_found", `There is no model "${model.slice(0, 128)}".`, { param: "model" });
  if (deployment.provider !== dialect) {
    const route = ROUTE_OF_DIALECT[deployment.provider];
    throw new AppError("model_dialect_mismatch", `Model "${model}" is served on ${route}, not on ${ROUTE_OF_DIALECT[dialect]}.`, {
      param: "model",
    });
  }
  if (deployment.apiKey !== undefined) return { deployment, apiKey: deployment.apiKey };
  const variable = deployment.apiKeyVariable ?? "litellm_params.api_key";
  throw new AppError("provider_key_missing", `The gateway has no provider key for model "${model}": ${variable} is not set.`);
}

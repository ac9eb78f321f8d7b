import { AppError } from "@proliferate/shared/errors";
import type { Deployment, ModelTable } from "../config/model-table.ts";
import { answerRoute, type Dialect } from "../dialects/dialect.ts";

export type { Deployment };

/** Who serves a model, with the key to do it. */
export interface RoutedModel {
  readonly deployment: Deployment;
  readonly apiKey: string;
}

/**
 * The deployment that serves a model in a dialect. Throws `model_not_found`, `model_dialect_mismatch` (it is served, on
 * another route) and `provider_key_missing`.
 */
export function routeModel(models: ModelTable, model: string, dialect: Dialect): RoutedModel {
  const deployment = models.find(model);
  // A name is the caller's text: shortened, so that no body ends up in a log.
  if (!deployment) throw new AppError("model_not_found", `There is no model "${model.slice(0, 128)}".`, { param: "model" });
  if (!deployment.dialects.includes(dialect)) {
    const routes = deployment.dialects.map(answerRoute).join(" and ");
    throw new AppError("model_dialect_mismatch", `Model "${model}" is served on ${routes}, not on ${answerRoute(dialect)}.`, {
      param: "model",
    });
  }
  if (deployment.apiKey !== undefined) return { deployment, apiKey: deployment.apiKey };
  const variable = deployment.apiKeyVariable ?? "litellm_params.api_key";
  throw new AppError("provider_key_missing", `The gateway has no provider key for model "${model}": ${variable} is not set.`);
}

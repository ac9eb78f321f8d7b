import { isModelAllowed } from "@proliferate/access/principals";
import type { CallerRow } from "@proliferate/access/keys";
import { AppError } from "@proliferate/shared/errors";
import type { Deployment, ModelTable } from "../config/model-table.ts";

/** LiteLLM's constant: models have no date of birth here. */
const CREATED = 1_677_610_602;

/** `GET /v1/models`: what the key may use, in a shape that both OpenAI's and Anthropic's clients read. */
export function listModels(models: ModelTable, caller: CallerRow): unknown {
  const data = models
    .list()
    .filter((deployment) => isModelAllowed(caller, deployment))
    .map(modelView);
  return { object: "list", data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

/** `GET /v1/models/{id}`. Throws `model_not_found`, also for one that the key may not use. */
export function showModel(models: ModelTable, caller: CallerRow, id: string): unknown {
  const deployment = models.find(id);
  if (deployment && isModelAllowed(caller, deployment)) return modelView(deployment);
  throw new AppError("model_not_found", `There is no model "${id.slice(0, 128)}" for this key.`, { param: "model" });
}

/** A model without a price says so: its calls are refused until it has one. One that its provider stops to serve says when. */
function modelView({ modelName, provider, prices, retiresOn }: Deployment): { readonly id: string } & Record<string, unknown> {
  return {
    id: modelName,
    object: "model",
    created: CREATED,
    owned_by: provider.name,
    type: "model",
    display_name: modelName,
    created_at: new Date(CREATED * 1_000).toISOString(),
    ...(!prices && { unpriced: true }),
    ...(retiresOn !== undefined && { retires_on: retiresOn }),
  };
}

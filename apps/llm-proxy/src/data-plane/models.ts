import { aliasesOf, isModelAllowed, servedName } from "@proliferate/access/principals";
import type { CallerRow } from "@proliferate/access/keys";
import { AppError } from "@proliferate/shared/errors";
import type { Deployment, ModelTable } from "../config/model-table.ts";

/** LiteLLM's constant: models have no date of birth here. */
const CREATED = 1_677_610_602;

/** `GET /v1/models`: what the key may use, its aliases last, in a shape that both OpenAI's and Anthropic's clients read. */
export function listModels(models: ModelTable, caller: CallerRow): unknown {
  const aliases = aliasesOf(caller);
  // What an alias hides cannot be called by its own name.
  const names = [...models.list().flatMap(({ modelName }) => (aliases.includes(modelName) ? [] : [modelName])), ...aliases];
  const data = names.flatMap((name) => viewFor(models, caller, name) ?? []);
  return { object: "list", data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

/** `GET /v1/models/{id}`. Throws `model_not_found`, also for one that the key may not use. */
export function showModel(models: ModelTable, caller: CallerRow, id: string): unknown {
  const view = viewFor(models, caller, id);
  if (view) return view;
  throw new AppError("model_not_found", `There is no model "${id.slice(0, 128)}" for this key.`, { param: "model" });
}

/** What is served to the caller under this name; undefined where it is not, or not to this one. */
function viewFor(models: ModelTable, caller: CallerRow, name: string): ReturnType<typeof modelView> | undefined {
  const served = servedName(caller, name);
  const deployment = models.find(served);
  if (!deployment || !isModelAllowed(caller, { ...deployment, requestedAs: name })) return undefined;
  return served === name ? modelView(deployment) : { ...modelView(deployment), id: name, display_name: name };
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

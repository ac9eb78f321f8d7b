import { isLimitedToModels, isModelAllowed } from "@proliferate/access/principals";
import type { CallerRow } from "@proliferate/access/keys";
import { AppError } from "@proliferate/shared/errors";
import type { Deployment, ModelTable } from "../config/model-table.ts";
import type { Provider } from "../providers/provider.ts";
import type { NamedModel, RequestFacts } from "../body/request-facts.ts";

/** A model that the body names beside the one that is called, and who it is here. */
export interface NamedDeployment {
  readonly named: NamedModel;
  /** Undefined only where the operator allows what cannot be judged: nobody here serves it. */
  readonly deployment: Deployment | undefined;
}

/**
 * Every model that the body names beside the one that is called, each under the rules of a direct call: served here, and
 * allowed to the key under one of its names. The provider reads these names, so they are its own, never the caller's.
 *
 * Throws `model_not_allowed`, whatever the operator allows, and `model_not_found` unless `allowUnserved`, both with the field.
 */
export function requireNamedModels(
  models: ModelTable,
  caller: CallerRow,
  serving: Provider,
  facts: Pick<RequestFacts, "namedModels">,
  allowUnserved: boolean,
): readonly NamedDeployment[] {
  return facts.namedModels.map((named) => {
    const served = models.list().filter(({ provider, upstreamModel }) => provider === serving && sameModel(upstreamModel, named.model));
    const allowed = served.find((deployment) => isModelAllowed(caller, deployment));
    if (allowed) return { named, deployment: allowed };
    const model = named.model.slice(0, 128);
    if (served.length > 0)
      throw new AppError("model_not_allowed", `${named.path} names "${model}", which the API key may not use.`, { param: named.path });
    if (isLimitedToModels(caller) || !allowUnserved)
      throw new AppError("model_not_found", `${named.path} names "${model}", and there is no such model here.`, { param: named.path });
    return { named, deployment: undefined };
  });
}

/** The dates that providers append to a model's name: the same model with and without. */
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

function sameModel(served: string, named: string): boolean {
  return served === named || served.replace(SNAPSHOT_DATE, "") === named.replace(SNAPSHOT_DATE, "");
}

import { AppError } from "@proliferate/shared/errors";
import { type Deployment, ModelTable } from "../config/model-table.ts";
import { answerRoute, type Dialect, servedDialect } from "../dialects/dialect.ts";
import type { CataloguePrincipal, CatalogueSource } from "./source.ts";

/** Who serves a model, with the key to do it. */
export interface RoutedModel {
  readonly deployment: Deployment;
  readonly apiKey: string;
  /** What it is asked in: the caller's own dialect, or the one that the request is translated for. */
  readonly dialect: Dialect;
}

/** What can be called at one moment. Immutable: a request is routed, judged and settled by the one that it began with. */
export class CatalogueSnapshot {
  /** What everybody may be served. */
  readonly everybody: ModelTable;
  /** Of teams that have sources of their own: what these serve, and everything that the team's callers can call. */
  readonly #ofTeams: ReadonlyMap<string, { readonly own: ModelTable; readonly all: ModelTable }>;

  /** Whether a model is served in dialects that its provider does not speak. */
  readonly translates: boolean;

  /** Throws `config_invalid`, naming both sources, where two of the same callers have one id. */
  constructor(sources: readonly CatalogueSource[], translates: boolean) {
    this.translates = translates;
    const teams = Map.groupBy(sources, ({ teamId }) => teamId);
    const deployments = new Map([...teams].map(([teamId, ofTeam]) => [teamId, deploymentsOf(ofTeam)]));
    const forEverybody = deployments.get(undefined) ?? [];
    this.everybody = new ModelTable(forEverybody);
    this.#ofTeams = new Map(
      [...deployments].flatMap(([teamId, own]) =>
        teamId === undefined ? [] : [[teamId, { own: new ModelTable(own), all: new ModelTable([...own, ...forEverybody]) }] as const],
      ),
    );
  }

  /** All that the callers of a team can call; where a name is served twice, the team's own deployment of it. */
  modelsFor({ teamId }: CataloguePrincipal): ModelTable {
    return (teamId === null ? undefined : this.#ofTeams.get(teamId)?.all) ?? this.everybody;
  }

  /**
   * The deployments that serve a model to a principal in a dialect, with their keys, in the order in which they are to be
   * asked, and what each is asked in; at least one. Throws `model_not_found`, `model_dialect_mismatch` (it is served, on another route) and
   * `provider_key_missing`.
   */
  resolve({ teamId }: CataloguePrincipal, model: string, dialect: Dialect): readonly [RoutedModel, ...RoutedModel[]] {
    const own = teamId === null ? undefined : this.#ofTeams.get(teamId)?.own.find(model);
    const serving = [own, this.everybody.find(model)].filter((deployment) => deployment !== undefined);
    // A name is the caller's text: shortened, so that no body ends up in a log.
    if (serving.length === 0) throw new AppError("model_not_found", `There is no model "${model.slice(0, 128)}".`, { param: "model" });
    const spoken = serving.flatMap((deployment) => {
      const served = servedDialect(deployment.dialects, dialect, this.translates);
      return served ? [{ deployment, dialect: served }] : [];
    });
    const [first] = spoken;
    if (!first) throw mismatch(model, serving, dialect);
    const [routed, ...others] = spoken.flatMap((one) => {
      const { apiKey } = one.deployment;
      return apiKey === undefined ? [] : [{ ...one, apiKey }];
    });
    if (routed) return [routed, ...others];
    const variable = first.deployment.apiKeyVariable ?? "litellm_params.api_key";
    throw new AppError("provider_key_missing", `The gateway has no provider key for model "${model}": ${variable} is not set.`);
  }
}

function mismatch(model: string, serving: readonly Deployment[], dialect: Dialect): AppError {
  const routes = [...new Set(serving.flatMap(({ dialects }) => dialects))].map(answerRoute).join(" and ");
  return new AppError("model_dialect_mismatch", `Model "${model}" is served on ${routes}, not on ${answerRoute(dialect)}.`, {
    param: "model",
  });
}

/** Of sources that serve the same callers. */
function deploymentsOf(sources: readonly CatalogueSource[]): readonly Deployment[] {
  const sourceOf = new Map<string, string>();
  return sources.flatMap(({ name, deployments }) =>
    deployments.map((deployment) => {
      const { modelName } = deployment;
      const earlier = sourceOf.get(modelName);
      if (earlier !== undefined)
        throw new AppError("config_invalid", `The model "${modelName}" is in ${earlier} and in ${name}; remove it from one of them.`);
      sourceOf.set(modelName, name);
      return deployment;
    }),
  );
}

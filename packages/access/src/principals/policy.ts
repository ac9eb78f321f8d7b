import { AppError } from "@proliferate/shared/errors";

/**
 * Which models one principal may call. A request's model, and every other model that its body names, needs the consent of each policy
 * of its path.
 */
interface Policy {
  /** Names that are allowed, exactly as the catalogue has them; empty = all. `all-proxy-models` allows all, too. */
  readonly models: readonly string[];
  /** A word among {@link models} that leaves the matter to the other policies of the path. */
  readonly wordForAll?: string;
}

/** What authentication found, as far as it says which models may be called. */
interface PolicyOwner {
  readonly models: readonly string[];
  readonly teamModels: readonly string[];
}

/** The policies of a caller, from the narrowest to the widest. */
function policiesOf(caller: PolicyOwner): readonly Policy[] {
  return [{ models: caller.models, wordForAll: "all-team-models" }, { models: caller.teamModels }];
}

function allows({ models, wordForAll }: Policy, model: string): boolean {
  return (
    models.length === 0 ||
    models.includes(model) ||
    models.includes("all-proxy-models") ||
    (wordForAll !== undefined && models.includes(wordForAll))
  );
}

/** Whether some policy of the path allows only what it names. */
export function isLimitedToModels(caller: PolicyOwner): boolean {
  return policiesOf(caller).some(({ models }) => models.length > 0);
}

/** Whether every policy of the path allows the model. */
export function isModelAllowed(caller: PolicyOwner, model: string): boolean {
  return policiesOf(caller).every((policy) => allows(policy, model));
}

/** Throws `model_not_allowed`, naming what is. */
export function requireModelAllowed(caller: PolicyOwner, model: string): void {
  if (isModelAllowed(caller, model)) return;
  const names = policiesOf(caller).find(({ models }) => models.length > 0)?.models ?? [];
  throw new AppError("model_not_allowed", `The API key may not use model "${model}"; it may use: ${names.join(", ")}.`, { param: "model" });
}

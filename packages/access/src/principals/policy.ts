import { AppError } from "@proliferate/shared/errors";
import { type AliasOwner, isTeamAlias } from "./model-aliases.ts";
import { matchesPattern } from "./model-pattern.ts";

/** What authentication found, as far as it says which models may be called. */
interface PolicyOwner extends Partial<AliasOwner> {
  readonly models: readonly string[];
  readonly teamModels: readonly string[];
}

/** A model as policies judge it. */
export interface CallableModel {
  /** As callers call it. */
  readonly modelName: string;
  /** As its provider knows it, behind the provider's name: `anthropic/claude-haiku-4-5-20251001`. */
  readonly model: string;
  /** As the caller asked for it, where an alias led elsewhere. */
  readonly requestedAs?: string | null | undefined;
}

/**
 * Which models one principal may call; empty = all. A request's model, and every other model that its body names, needs the consent of
 * each list of its path. Where a team's alias led to it, a list that names the alias means it, too. An entry is, as LiteLLM reads it:
 *
 * | entry | stands for |
 * |---|---|
 * | `gpt-4o` | the model that callers call so |
 * | `gpt-4*`, `*` | every model that callers call like this |
 * | `anthropic/*` | the same; also a model that has no `/` in its name, is served by this provider, and is known to it by its name |
 * | `all-proxy-models` | every model |
 * | `all-team-models` | of a key: leaves the matter to its team; of a team: every model |
 * | `no-default-models` | none; for a list that allows nothing |
 */
type ModelList = readonly string[];

const WORDS_FOR_ALL: ReadonlySet<string> = new Set(["all-proxy-models", "all-team-models", "*"]);

/** As many names as a refusal tells, and characters of each. */
const MOST_TOLD_NAMES = 20;
const MOST_TOLD_CHARACTERS = 128;

/** The lists of a caller, from the narrowest to the widest. */
function listsOf(caller: PolicyOwner): readonly ModelList[] {
  return [caller.models, caller.teamModels];
}

function allows(list: ModelList, names: ModelNames): boolean {
  if (list.length === 0) return true;
  const { exact, likened } = names;
  return list.some(
    (entry) =>
      WORDS_FOR_ALL.has(entry) || (entry.includes("*") ? likened.some((name) => matchesPattern(entry, name)) : exact.includes(entry)),
  );
}

/** By which names a list may mean a model. */
interface ModelNames {
  readonly exact: readonly string[];
  /** What patterns are compared with. */
  readonly likened: readonly string[];
}

function namesOf(caller: PolicyOwner, model: CallableModel): ModelNames {
  const { modelName, requestedAs } = model;
  const asked = requestedAs && isTeamAlias(caller, requestedAs, modelName) ? [requestedAs] : [];
  return { exact: [modelName, ...asked], likened: [...likenedTo(model), ...asked] };
}

/** The date that a provider appends to the name of a model: the same model with and without. */
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

/**
 * A name that the operator made up is known to no provider, so no pattern of a provider reaches it: LiteLLM
 * asks its list of known names in the same place.
 */
function likenedTo({ modelName, model }: CallableModel): readonly string[] {
  if (modelName.includes("/")) return [modelName];
  const provider = model.slice(0, model.indexOf("/") + 1);
  const isKnownByIt = withoutDate(model) === withoutDate(provider + modelName);
  return isKnownByIt ? [modelName, provider + modelName] : [modelName];
}

function withoutDate(name: string): string {
  return name.replace(SNAPSHOT_DATE, "");
}

/** Whether some list of the path allows only what it names. */
export function isLimitedToModels(caller: PolicyOwner): boolean {
  return listsOf(caller).some((list) => list.length > 0);
}

/** Whether every list of the path allows the model. */
export function isModelAllowed(caller: PolicyOwner, model: CallableModel): boolean {
  const names = namesOf(caller, model);
  return listsOf(caller).every((list) => allows(list, names));
}

/** Throws `model_not_allowed`, naming what is. */
export function requireModelAllowed(caller: PolicyOwner, model: CallableModel): void {
  const names = namesOf(caller, model);
  const refusing = listsOf(caller).find((list) => !allows(list, names));
  if (refusing === undefined) return;
  const told = refusing.slice(0, MOST_TOLD_NAMES).map((name) => name.slice(0, MOST_TOLD_CHARACTERS));
  const allowed = refusing.length > told.length ? [...told, `${refusing.length - told.length} more`] : told;
  const asked = model.modelName.slice(0, MOST_TOLD_CHARACTERS);
  throw new AppError("model_not_allowed", `The API key may not use model "${asked}"; it may use: ${allowed.join(", ")}.`, {
    param: "model",
  });
}

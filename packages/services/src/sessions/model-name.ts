import { isModelAllowed } from "@proliferate/access/principals";

/** LiteLLM's words for many models in a key's list. */
const WORDS: ReadonlySet<string> = new Set(["all-proxy-models", "all-team-models", "no-default-models"]);

/** Whether an entry of a key's list is a pattern (`anthropic/*`) or a word for many models instead of a name. */
const standsForMany = (entry: string): boolean => entry.includes("*") || WORDS.has(entry);

/**
 * The provider that serves a model of the catalogue: what stands before the first slash (`mistral` of `mistral/codestral`). A name
 * without a slash is OpenAI's where it looks like one of OpenAI's, else Anthropic's.
 */
export function providerOfModel(model: string): string {
  const slash = model.indexOf("/");
  if (slash > 0) return model.slice(0, slash);
  return /^(gpt-|chatgpt-|o\d)/.test(model) ? "openai" : "anthropic";
}

/** A provider whose models stand under both names in litellm/config.yaml: agents send the bare one where people write the other. */
const hasBareNames = (model: string): boolean => ["anthropic", "openai"].includes(providerOfModel(model));

/** A name without the provider's prefix where it may be left out. `anthropic/claude-x` gives `claude-x`, `mistral/codestral` itself. */
const bareName = (model: string): string => (hasBareNames(model) ? model.replace(/^(anthropic|openai)\//, "") : model);

/** A name with its provider. `claude-x` gives `anthropic/claude-x`, `mistral/codestral` itself. */
export function prefixedName(model: string): string {
  return hasBareNames(model) ? `${providerOfModel(model)}/${bareName(model)}` : model;
}

/**
 * Every name of the model: what is said of one holds for all. Anthropic's and OpenAI's have a bare and a prefixed one. Another provider's
 * has one: `openrouter/gpt-4o` is not `gpt-4o`, which another provider serves at another price. A pattern has one, too, as `anthropic/*`
 * without its prefix would be every model.
 */
export function modelSpellings(model: string): readonly string[] {
  return standsForMany(model) ? [model] : [...new Set([bareName(model), prefixedName(model)])];
}

/** True when the key's list allows the model, under any name, by a pattern or by a word for many; an empty list allows all. */
export function allowsModel(models: readonly string[], model: string): boolean {
  const list = { models: models.flatMap(modelSpellings), teamModels: [] };
  return modelSpellings(model).some((modelName) => isModelAllowed(list, { modelName, model: prefixedName(model) }));
}

/** The names of a key's list, without patterns and words for many. */
export function modelNames(models: readonly string[]): readonly string[] {
  return models.filter((entry) => !standsForMany(entry));
}

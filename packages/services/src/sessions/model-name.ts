const PROVIDER_PREFIX = /^(anthropic|openai)\//;

/** The provider that serves a model of the catalogue: by its prefix, else by what OpenAI's models are called. */
export function providerOfModel(model: string): "anthropic" | "openai" {
  const prefix = PROVIDER_PREFIX.exec(model)?.[1];
  if (prefix !== undefined) return prefix === "openai" ? "openai" : "anthropic";
  return /^(gpt-|chatgpt-|o\d)/.test(model) ? "openai" : "anthropic";
}

/**
 * Both names of a model: bare, and with its provider. Every model stands under both in litellm/config.yaml, and agents
 * send the bare one where people write the other; what is said of one holds for both.
 */
export function modelSpellings(model: string): readonly [bare: string, prefixed: string] {
  const bare = model.replace(PROVIDER_PREFIX, "");
  return [bare, `${providerOfModel(model)}/${bare}`];
}

/** True when the key's list allows the model, under either name; an empty list allows all. */
export function allowsModel(models: readonly string[], model: string): boolean {
  const [bare] = modelSpellings(model);
  return models.length === 0 || models.some((allowed) => modelSpellings(allowed)[0] === bare);
}

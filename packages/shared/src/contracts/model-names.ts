import { z } from "zod";

/** What a list of allowed models may hold: each of its entries is looked at with every request, so all three are bounded. */
const MOST_MODELS = 1_000;
/** So long a model's name, or a pattern, is at most. */
export const MOST_MODEL_NAME_CHARACTERS = 255;
/** So many stars one pattern has at most: each makes matching it longer by the name's length. */
export const MOST_STARS_OF_PATTERN = 8;

/** Aliases of one key or team. */
const MOST_ALIASES = 100;

/** A name of a model as callers write it. */
const modelNameSchema = z.string().min(1).max(MOST_MODEL_NAME_CHARACTERS);

/** Names of models, LiteLLM's words for many, and patterns in which `*` stands for any text. */
export const modelListSchema = z
  .array(
    modelNameSchema.refine((name) => name.split("*").length - 1 <= MOST_STARS_OF_PATTERN, `must have ${MOST_STARS_OF_PATTERN} * at most`),
  )
  .max(MOST_MODELS);

/**
 * `{"what callers say": "the model that is served"}`. An alias is followed once, so none may lead to another: LiteLLM would follow two of them,
 * and who reads the map could not say what is served.
 */
export const modelAliasesSchema = z
  .record(modelNameSchema, modelNameSchema)
  .refine((aliases) => Object.keys(aliases).length <= MOST_ALIASES, `must be ${MOST_ALIASES} at most`)
  .refine((aliases) => Object.values(aliases).every((target) => !Object.hasOwn(aliases, target)), "must not lead to another alias")
  .refine(
    (aliases) =>
      Object.entries(aliases)
        .flat()
        .every((name) => !name.includes("*")),
    "must be names, not patterns",
  );

import { z } from "zod";

/** What a list of allowed models may hold: each of its entries is looked at with every request, so all three are bounded. */
export const MOST_MODELS = 1_000;
export const MOST_MODEL_NAME_CHARACTERS = 255;
export const MOST_STARS_OF_PATTERN = 8;

/** A name of a model as callers write it. */
export const modelNameSchema = z.string().min(1).max(MOST_MODEL_NAME_CHARACTERS);

/** Names of models, LiteLLM's words for many, and patterns in which `*` stands for any text. */
export const modelListSchema = z
  .array(
    modelNameSchema.refine((name) => name.split("*").length - 1 <= MOST_STARS_OF_PATTERN, `must have ${MOST_STARS_OF_PATTERN} * at most`),
  )
  .max(MOST_MODELS);

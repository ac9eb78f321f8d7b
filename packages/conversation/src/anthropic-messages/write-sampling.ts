import type { Settings } from "../conversation.ts";
import type { JsonObject } from "../json.ts";
import type { Notes } from "../notes.ts";

/** Claude 4.7 and later sample in one way alone. */
const FIXED = /^claude-(?:[a-z]+-)?(?:4-[7-9](?!\d)|[5-9](?!\d)|\d\d(?!\d))|^claude-(?:fable|mythos)/;
/** Since 4.1 a temperature and `top_p` are not taken together. */
const EITHER = /^claude-(?:[a-z]+-)?4-[1-6](?!\d)/;
/** Other APIs go to 2. */
const MOST_TEMPERATURE = 1;
/** The least that Anthropic takes beside thoughts. */
const LEAST_TOP_P = 0.95;

/**
 * `temperature`, `top_p` and `top_k` as far as Claude takes them: beside thoughts there is one temperature and no `top_k`, `top_p` does not stand beside a
 * temperature, and later models take none of them. What is left out is dropped and told.
 */
export function writeSampling(
  { temperature, topP, topK }: Settings,
  { model, isThinking }: { readonly model: string; readonly isThinking: boolean },
  notes: Notes,
): JsonObject {
  const isFixed = FIXED.test(model);
  const isWarm = temperature !== undefined && temperature > MOST_TEMPERATURE;
  const isEither = EITHER.test(model) && temperature !== undefined;
  const taken = {
    temperature: isWarm ? MOST_TEMPERATURE : (isFixed || isThinking) && temperature !== MOST_TEMPERATURE ? undefined : temperature,
    topP: isFixed || isEither || (isThinking && topP !== undefined && topP < LEAST_TOP_P) ? undefined : topP,
    topK: isFixed || isThinking ? undefined : topK,
  };
  if (isWarm) notes.changeFeature("temperature");
  else if (taken.temperature !== temperature) notes.dropFeature("temperature");
  if (taken.topP !== topP) notes.dropFeature("topP");
  if (taken.topK !== topK) notes.dropFeature("topK");
  return { temperature: taken.temperature, top_p: taken.topP, top_k: taken.topK };
}

import { anthropic } from "./anthropic.ts";
import { gemini } from "./gemini.ts";
import { openai } from "./openai.ts";
import type { Provider } from "./provider.ts";

/** Every provider that a model of the catalogue may be served by. */
export const PROVIDERS: readonly Provider[] = [anthropic, openai, gemini];

/** By its name; undefined for one that is not served. */
export function findProvider(name: string): Provider | undefined {
  return PROVIDERS.find((provider) => provider.name === name);
}

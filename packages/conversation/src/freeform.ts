import type { Tool } from "./conversation.ts";
import { FREEFORM_FIELD, type JsonObject } from "./json.ts";

/** A free-form tool where an API's tools take objects alone. */
export const FREEFORM_SCHEMA: JsonObject = {
  type: "object",
  properties: { [FREEFORM_FIELD]: { type: "string" } },
  required: [FREEFORM_FIELD],
};

/** What a tool is described by, with the grammar of its text in words. */
export function describedWithGrammar({ description, grammar }: Pick<Tool, "description" | "grammar">): string | undefined {
  if (!grammar) return description;
  const inWords = `The text in ${FREEFORM_FIELD} follows this grammar (${grammar.syntax}):\n${grammar.definition}`;
  return [description, inWords].filter((text) => text !== undefined).join("\n\n");
}

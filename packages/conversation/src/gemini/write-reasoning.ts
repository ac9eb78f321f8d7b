import type { Effort, Reasoning } from "../conversation.ts";
import { type JsonObject, present } from "../json.ts";
import type { Notes } from "../notes.ts";

/** Gemini 3 and later are told how much to think by a level; 2.5 by a budget of tokens; those before them do not think. */
export const LEVELLED = /^gemini-(?:[3-9]|\d\d)(?!\d)/;
const BUDGETED = /^gemini-2\.5-/;
/** These think whatever they are told. */
const ALWAYS = /^gemini-(?:2\.5-pro|[3-9])/;

const BUDGET_TOKENS: Readonly<Record<Effort, number>> = {
  minimal: 512,
  low: 1_024,
  medium: 8_192,
  high: 24_576,
  xhigh: 24_576,
  max: 24_576,
};
/** What every model of 2.5 takes, whichever it is. */
const [LEAST_BUDGET_TOKENS, MOST_BUDGET_TOKENS] = [512, 24_576];

/** `thinkingConfig`; what the model cannot do is dropped and told. */
export function writeReasoning(reasoning: Reasoning | undefined, model: string, notes: Notes): JsonObject | undefined {
  if (!reasoning) return undefined;
  const isLevelled = LEVELLED.test(model);
  if (!isLevelled && !BUDGETED.test(model)) {
    if (reasoning.kind === "on") notes.dropFeature("reasoning");
    return undefined;
  }
  if (reasoning.kind === "off") {
    if (!ALWAYS.test(model)) return { thinkingBudget: 0 };
    notes.changeFeature("reasoning");
    return isLevelled ? { thinkingLevel: "LOW" } : { thinkingBudget: LEAST_BUDGET_TOKENS };
  }
  const { effort, budgetTokens } = reasoning;
  if (isLevelled) return present({ includeThoughts: true, thinkingLevel: levelOf(effort ?? effortOf(budgetTokens), model) });
  const budget = budgetTokens ?? (effort && BUDGET_TOKENS[effort]);
  const taken = budget && Math.max(LEAST_BUDGET_TOKENS, Math.min(MOST_BUDGET_TOKENS, Math.trunc(budget)));
  if (taken !== budgetTokens && budgetTokens !== undefined) notes.changeFeature("reasoning");
  return present({ includeThoughts: true, thinkingBudget: taken });
}

/** The first of the third kind, and no later one, knows two levels alone; least of all thought is known to the fast ones alone. */
function levelOf(effort: Effort | undefined, model: string): string | undefined {
  if (effort === undefined) return undefined;
  if (effort === "minimal") return model.includes("flash") ? "MINIMAL" : "LOW";
  if (effort === "low") return "LOW";
  return effort === "medium" && !model.startsWith("gemini-3-pro") ? "MEDIUM" : "HIGH";
}

function effortOf(budgetTokens: number | undefined): Effort | undefined {
  if (budgetTokens === undefined) return undefined;
  return budgetTokens <= 4_096 ? "low" : budgetTokens <= 16_384 ? "medium" : "high";
}

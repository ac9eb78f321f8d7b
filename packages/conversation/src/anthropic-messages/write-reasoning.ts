import type { Conversation, Effort } from "../conversation.ts";
import type { JsonObject } from "../json.ts";
import type { Notes } from "../notes.ts";
import { ANTHROPIC_MESSAGES } from "./name.ts";

/** Claude 4.6 and later decide themselves how long to think, and are told by an effort. */
const ADAPTIVE = /^claude-(?:[a-z]+-)?(?:4-[6-9](?!\d)|[5-9](?!\d)|\d\d(?!\d))|^claude-(?:fable|mythos)/;
/** Before them a budget of tokens was set; before those there was no thinking. */
const BUDGETED = /^claude-(?:3-7-|(?:opus|sonnet|haiku)-4(?!\d))/;
/** These think whatever they are told. */
const ALWAYS = /^claude-(?:opus-5-5|fable)/;

const BUDGET_TOKENS: Readonly<Record<Effort, number>> = {
  minimal: 1_024,
  low: 2_048,
  medium: 8_192,
  high: 16_384,
  xhigh: 32_768,
  max: 65_536,
};
/** Anthropic's least. */
const LEAST_BUDGET_TOKENS = 1_024;

/** `thinking` and `output_config.effort`; what the model cannot do is dropped and told. */
export function writeReasoning(
  conversation: Conversation,
  { model, maxTokens }: { readonly model: string; readonly maxTokens: number },
  notes: Notes,
): { readonly thinking?: JsonObject | undefined; readonly effort?: string | undefined } {
  const { reasoning, toolChoice } = conversation.settings;
  if (!reasoning) return {};
  const drop = (): Record<never, never> => {
    notes.dropFeature("reasoning");
    return {};
  };
  const isAdaptive = ADAPTIVE.test(model);
  if (!isAdaptive && !BUDGETED.test(model)) return reasoning.kind === "off" ? {} : drop();
  if (reasoning.kind === "off") return ALWAYS.test(model) ? drop() : { thinking: { type: "disabled" } };
  // A tool that must be called leaves no room for thoughts: Anthropic refuses both at once.
  if (toolChoice?.kind === "required" || toolChoice?.kind === "tool") return drop();
  if (isAdaptive) {
    const effort = reasoning.effort ?? effortOf(reasoning.budgetTokens);
    return { thinking: { type: "adaptive" }, effort: effort === "minimal" ? "low" : effort };
  }
  // With a budget, each turn that calls tools has to begin with its thought; a caller that could not keep it goes on without.
  if (lacksThought(conversation)) return drop();
  const budget = Math.min(reasoning.budgetTokens ?? BUDGET_TOKENS[reasoning.effort ?? "medium"], maxTokens - 1);
  return budget < LEAST_BUDGET_TOKENS ? drop() : { thinking: { type: "enabled", budget_tokens: Math.max(budget, LEAST_BUDGET_TOKENS) } };
}

function effortOf(budgetTokens: number | undefined): Effort | undefined {
  if (budgetTokens === undefined) return undefined;
  return budgetTokens <= 4_096 ? "low" : budgetTokens <= 16_384 ? "medium" : "high";
}

/** The turn that goes on calls tools, and no thought of Anthropic's is in it. */
function lacksThought({ turns }: Conversation): boolean {
  const last = turns.findLast(({ role }) => role === "assistant");
  if (!last?.parts.some(({ kind }) => kind === "toolCall")) return false;
  return !last.parts.some((part) => part.kind === "thinking" && part.signature?.origin === ANTHROPIC_MESSAGES);
}

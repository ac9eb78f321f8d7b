export { readAnthropicAnswer } from "./anthropic-usage.ts";
export { readOpenAIAnswer } from "./openai-usage.ts";
export { rereadReport } from "./reread-report.ts";
export { objectOf } from "./sse-data.ts";
export {
  type Fee,
  type FeeCounts,
  FEES,
  MODIFIER_KINDS,
  type ModifierKind,
  reportOf,
  totals,
  type UsageModifiers,
  type UsagePart,
  type UsageReport,
} from "./usage-report.ts";
export { completionTokens, INPUT_CLASSES, NO_USAGE, OUTPUT_CLASSES, type PricedClass, promptTokens, type Usage } from "./usage.ts";

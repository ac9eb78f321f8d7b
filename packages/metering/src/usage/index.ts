export { readAnthropicAnswer } from "./anthropic-usage.ts";
export { readOpenAIAnswer } from "./openai-usage.ts";
export { rereadReport } from "./reread-report.ts";
export { objectOf } from "./sse-data.ts";
export {
  FEES,
  type Fee,
  type FeeCounts,
  MODIFIER_KINDS,
  type ModifierKind,
  type UsageModifiers,
  type UsagePart,
  type UsageReport,
  reportOf,
  totals,
} from "./usage-report.ts";
export { INPUT_CLASSES, NO_USAGE, OUTPUT_CLASSES, type PricedClass, type Usage, completionTokens, promptTokens } from "./usage.ts";

export { AnthropicUsageReader, readAnthropicAnswer } from "./anthropic-usage.ts";
export { readEmbeddingsAnswer } from "./embeddings-usage.ts";
export { GeminiUsageReader, readGeminiAnswer } from "./gemini-usage.ts";
export type { Search } from "./openai-report.ts";
export { OpenAIUsageReader, readOpenAIAnswer } from "./openai-usage.ts";
export { rereadReport } from "./reread-report.ts";
export { readResponsesAnswer, ResponsesUsageReader } from "./responses-usage.ts";
export { estimateOutputTokens, objectOf, parseJsonObject } from "./sse-data.ts";
export type { StreamUsageReader, UsageReading } from "./usage-reader.ts";
export {
  type Fee,
  type FeeCounts,
  FEES,
  MODIFIER_KINDS,
  type ModifierKind,
  NO_REPORT,
  reportOf,
  totals,
  type UsageModifiers,
  type UsagePart,
  type UsageReport,
  withLastUsage,
} from "./usage-report.ts";
export {
  completionTokens,
  INPUT_CLASSES,
  NO_USAGE,
  OUTPUT_CLASSES,
  PRICED_CLASSES,
  type PricedClass,
  promptTokens,
  type Usage,
} from "./usage.ts";

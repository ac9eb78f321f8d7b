import { anthropicAnswerOf, readAnthropicReport } from "./anthropic-report.ts";
import { embeddingsAnswerOf, readEmbeddingsReport } from "./embeddings-usage.ts";
import { geminiAnswerOf, readGeminiReport } from "./gemini-report.ts";
import { openAIAnswerOf, readOpenAIReport } from "./openai-report.ts";
import { readResponsesReport, responsesAnswerOf } from "./responses-report.ts";
import type { UsageReport } from "./usage-report.ts";

/** How what a row keeps of an answer is read again, by the `call_type` of the dialect that the answer was in. */
const REREAD: Readonly<Record<string, (raw: Readonly<Record<string, unknown>>) => { readonly report: UsageReport }>> = {
  anthropic_messages: (raw) => readAnthropicReport(anthropicAnswerOf(raw)),
  aembedding: (raw) => readEmbeddingsReport(embeddingsAnswerOf(raw)),
  aresponses: (raw) => readResponsesReport(responsesAnswerOf(raw)),
  agenerate_content: (raw) => readGeminiReport(geminiAnswerOf(raw)),
  acompletion: (raw) => readOpenAIReport(openAIAnswerOf(raw)),
};

/** What a provider reported, as it is read today. Undefined for rows of a dialect that keeps nothing to be read again. */
export function rereadReport(callType: string, raw: Readonly<Record<string, unknown>>): UsageReport | undefined {
  return Object.hasOwn(REREAD, callType) ? REREAD[callType]?.(raw).report : undefined;
}

import type { AttemptCheckpoint } from "@proliferate/services/attempts/checkpoint";
import { AnthropicUsageReader, readAnthropicAnswer } from "@proliferate/services/metering/anthropic-usage";
import { OpenAIUsageReader, readOpenAIAnswer } from "@proliferate/services/metering/openai-usage";
import { estimateOutputTokens } from "@proliferate/services/metering/sse-data";
import { totals, type UsageReport, withLastUsage } from "@proliferate/services/metering/usage-report";
import type { StreamUsageReader, UsageReading } from "@proliferate/services/metering/usage-reader";
import type { Dialect } from "./dialect.ts";

/** The reader of a streamed answer. `dropUsageChunk`: we asked for OpenAI's usage chunk, the caller did not. */
export function streamReader(dialect: Dialect, dropUsageChunk: boolean): StreamUsageReader {
  return dialect === "anthropic" ? new AnthropicUsageReader() : new OpenAIUsageReader({ dropUsageChunk });
}

/** Reads an answer that came whole. */
export function readAnswer(dialect: Dialect, body: Buffer): UsageReading {
  const reading = dialect === "anthropic" ? readAnthropicAnswer(body) : readOpenAIAnswer(body);
  if (reading.isFinal) return reading;
  const floor = estimateOutputTokens(body.length);
  return { ...reading, report: withLastUsage(reading.report, (usage) => ({ ...usage, outputTokens: Math.max(usage.outputTokens, floor) })) };
}

/** What is known of an answer when the provider's own count never came: our estimate of the input stands in for it. */
export function reportAtEnd(reading: UsageReading, estimatedInputTokens: number): UsageReport {
  return reading.isInputReported ? reading.report : withLastUsage(reading.report, (usage) => ({ ...usage, inputTokens: estimatedInputTokens }));
}

/** What a crash must not forget, of an answer that runs. */
export function checkpointOf(reading: UsageReading, estimatedInputTokens: number, firstByteAt: Date): AttemptCheckpoint {
  const report = reportAtEnd(reading, estimatedInputTokens);
  return { usage: totals(report), report, providerResponseId: reading.responseId ?? null, firstByteAt: firstByteAt.toISOString() };
}

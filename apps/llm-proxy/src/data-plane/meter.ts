import type { AttemptCheckpoint } from "@proliferate/access/requests";
import {
  estimateOutputTokens,
  NO_REPORT,
  totals,
  type UsagePart,
  type UsageReading,
  type UsageReport,
  withLastUsage,
} from "@proliferate/metering/usage";
import type { Asked, Dialect } from "../dialects/dialect.ts";

/** Reads an answer that is no stream. `body` may be without what is large in it; `bytes` is how many there were. */
export function readAnswer(dialect: Dialect, body: Buffer, bytes: number, asked: Asked): UsageReading {
  const reading = dialect.readAnswer(body, asked);
  if (reading.isFinal) return reading;
  const floor = estimateOutputTokens(bytes);
  return {
    ...reading,
    report: withLastUsage(reading.report, (usage) => ({ ...usage, outputTokens: Math.max(usage.outputTokens, floor) })),
  };
}

/**
 * What is known of an answer when the provider's own count never came: our estimate of the input stands in for it, and passes
 * that were seen to begin stand in front of what was counted.
 */
export function reportSoFar(reading: UsageReading | undefined, estimatedInputTokens: number): UsageReport {
  if (reading?.isInputReported) {
    const { report, laterPasses = [] } = reading;
    if (laterPasses.length === 0) return report;
    // In front of both readings of a provider that contradicts itself: whichever is dearer has them.
    const behind = (parts: readonly UsagePart[]): readonly UsagePart[] => [...laterPasses, ...parts];
    return { ...report, parts: behind(report.parts), ...(report.otherwise && { otherwise: behind(report.otherwise) }) };
  }
  return withLastUsage(reading?.report ?? NO_REPORT, (usage) => ({ ...usage, inputTokens: estimatedInputTokens }));
}

/** What a crash must not forget, of a request that runs; of its answer what came of it. */
export function checkpointOf(reading: UsageReading | undefined, estimatedInputTokens: number, firstByteAt: Date | null): AttemptCheckpoint {
  const report = reportSoFar(reading, estimatedInputTokens);
  return {
    usage: totals(report),
    report,
    isFinal: reading?.isFinal ?? false,
    providerResponseId: reading?.responseId ?? null,
    firstByteAt: firstByteAt?.toISOString() ?? null,
  };
}

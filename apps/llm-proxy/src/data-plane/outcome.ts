import type { AdmittedAttempt, AttemptRow } from "@proliferate/services/attempts/db";
import { reportOfCheckpoint } from "@proliferate/services/attempts/checkpoint";
import { NO_USAGE } from "@proliferate/services/metering/usage";
import { NO_REPORT, reportOf, type UsageReport } from "@proliferate/services/metering/usage-report";
import type { UsageReading } from "@proliferate/services/metering/usage-reader";
import { priceReport, type RequestPrices } from "@proliferate/services/pricing/cost";
import { type AttemptOutcome, type Cost, NO_COST } from "@proliferate/services/spend-logs/spend-log";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import { reportAtEnd } from "./meter.ts";

/**
 * How an answer ended, before it is priced.
 *
 * - `completed`: it came whole.
 * - `failed`: it began and broke; what was seen of it is paid, because the provider charges it too.
 * - `abandoned`: the caller left. What was seen is paid, and the input in any case: an abort must not make it free.
 * - `unreadable`: an error answer, or none at all; costs nothing.
 */
export interface Ending {
  readonly kind: "completed" | "failed" | "abandoned" | "unreadable";
  readonly reading?: UsageReading | undefined;
  readonly error?: { readonly code: string; readonly kind: string; readonly message: string };
}

export const completed = (reading: UsageReading): Ending => ({ kind: "completed", reading });

export const failed = (reading: UsageReading, code: string, kind: string): Ending => ({
  kind: "failed",
  reading,
  error: { code, kind, message: "The answer broke before its end." },
});

export const abandoned = (reading: UsageReading | undefined): Ending => ({
  kind: "abandoned",
  reading,
  error: { code: "499", kind: "CallerGone", message: "The caller closed the connection before the end of the answer." },
});

export const unreadable = (code: string, kind: string): Ending => ({
  kind: "unreadable",
  error: { code, kind, message: "The provider gave no answer that costs." },
});

/** What the attempt cost, and the rest of what its spend row says. */
export function outcomeOf(
  attempt: AdmittedAttempt,
  prices: RequestPrices,
  ending: Ending,
  times: { readonly firstByteAt: Date | null; readonly endedAt: Date },
): AttemptOutcome {
  const report = reportOfEnding(ending, attempt.estimated_input_tokens);
  return {
    report,
    ...(ending.kind === "unreadable" ? { cost: NO_COST } : priced(prices, report)),
    status: ending.kind === "completed" ? "success" : "failure",
    estimated: ending.kind !== "unreadable" && ending.reading?.isFinal !== true,
    recovered: false,
    providerResponseId: ending.reading?.responseId ?? null,
    ...times,
    ...(ending.error && { error: ending.error }),
  };
}

/**
 * An attempt whose process died: what was checkpointed is paid; where nothing was, the estimated input is, as for a caller
 * that left. It was on record to be sent at once, and a crash must not make it free.
 */
export function outcomeOfOrphan(attempt: AttemptRow, prices: RequestPrices | undefined, endedAt: Date): AttemptOutcome {
  const { checkpoint } = attempt;
  const report = checkpoint ? reportOfCheckpoint(checkpoint) : reportOf({ ...NO_USAGE, inputTokens: attempt.estimated_input_tokens });
  return {
    report,
    ...(prices ? priced(prices, report) : { cost: NO_COST, unpriced: [`price=${attempt.price_id}`] }),
    status: "failure",
    estimated: true,
    recovered: true,
    providerResponseId: checkpoint?.providerResponseId ?? null,
    firstByteAt: checkpoint?.firstByteAt ? new Date(checkpoint.firstByteAt) : null,
    endedAt,
    error: { code: "recovered", kind: "ProcessDied", message: "The process that forwarded the request died before its end." },
  };
}

function reportOfEnding(ending: Ending, estimatedInputTokens: number): UsageReport {
  if (ending.kind === "unreadable") return NO_REPORT;
  return ending.reading ? reportAtEnd(ending.reading, estimatedInputTokens) : reportOf({ ...NO_USAGE, inputTokens: estimatedInputTokens });
}

function priced(prices: RequestPrices, report: UsageReport): { readonly cost: Cost; readonly unpriced: readonly string[] } {
  const { inputPicoUsd, outputPicoUsd, toolPicoUsd, totalPicoUsd, unpriced } = priceReport(prices, report);
  const cost = {
    inputUsd: decimalFromPicoUsd(inputPicoUsd),
    outputUsd: decimalFromPicoUsd(outputPicoUsd),
    toolUsd: decimalFromPicoUsd(toolPicoUsd),
    totalUsd: decimalFromPicoUsd(totalPicoUsd),
  };
  return { cost, unpriced };
}

import type { AdmittedAttempt, AttemptRow } from "@proliferate/services/attempts/db";
import { NO_USAGE, type Usage } from "@proliferate/services/metering/usage";
import type { UsageReading } from "@proliferate/services/metering/usage-reader";
import type { Price } from "@proliferate/services/pricing/price";
import { priceUsage } from "@proliferate/services/pricing/price";
import { type AttemptOutcome, type Cost, NO_COST } from "@proliferate/services/spend-logs/spend-log";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import { usageOf } from "./meter.ts";

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
  price: Price,
  ending: Ending,
  times: { readonly firstByteAt: Date | null; readonly endedAt: Date },
): AttemptOutcome {
  const usage = usageAtEnd(ending, attempt.estimated_input_tokens);
  return {
    usage,
    cost: ending.kind === "unreadable" ? NO_COST : costOf(price, usage),
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
export function outcomeOfOrphan(attempt: AttemptRow, price: Price | undefined, endedAt: Date): AttemptOutcome {
  const { checkpoint } = attempt;
  const usage = checkpoint?.usage ?? { ...NO_USAGE, inputTokens: attempt.estimated_input_tokens };
  return {
    usage,
    cost: price ? costOf(price, usage) : NO_COST,
    status: "failure",
    estimated: true,
    recovered: true,
    providerResponseId: checkpoint?.providerResponseId ?? null,
    firstByteAt: checkpoint?.firstByteAt ? new Date(checkpoint.firstByteAt) : null,
    endedAt,
    error: { code: "recovered", kind: "ProcessDied", message: "The process that forwarded the request died before its end." },
  };
}

function usageAtEnd(ending: Ending, estimatedInputTokens: number): Usage {
  if (ending.kind === "unreadable") return NO_USAGE;
  return ending.reading ? usageOf(ending.reading, estimatedInputTokens) : { ...NO_USAGE, inputTokens: estimatedInputTokens };
}

function costOf(price: Price, usage: Usage): Cost {
  const total = priceUsage(price, usage);
  const input = priceUsage(price, { ...usage, outputTokens: 0, reasoningTokens: 0 });
  return { inputUsd: decimalFromPicoUsd(input), outputUsd: decimalFromPicoUsd(total - input), totalUsd: decimalFromPicoUsd(total) };
}

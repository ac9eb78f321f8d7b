import { type AdmittedAttempt, type AttemptOutcome, type AttemptRow, readCheckpoint } from "@proliferate/access/requests";
import { NO_REPORT, type UsageReading, type UsageReport, withLastUsage } from "@proliferate/metering/usage";
import {
  type Cost,
  costOf,
  dearerReading,
  NO_COST,
  type PricedReport,
  priceReport,
  type RequestPrices,
} from "@proliferate/metering/pricing";
import { picoUsdFromDecimal } from "@proliferate/shared/money";
import { reportSoFar } from "./meter.ts";

/**
 * How a request ended, before it is priced. The table of all endings, with what each costs and why: docs/pricing.md,
 * "Unfinished answers". This file is that table's only implementation.
 *
 * - `whole`: the provider's answer came to its end.
 * - `unfinished`: the request was sent, and its answer did not come to its end, whoever is to blame.
 * - `nothing`: the provider said success, and what came is no answer.
 * - `free`: nothing was sent, or the provider refused before it made anything.
 */
export interface Ending {
  readonly kind: "whole" | "unfinished" | "nothing" | "free";
  /** Undefined when nothing of an answer came. */
  readonly reading?: UsageReading | undefined;
  /** How long the provider had the request. */
  readonly runMs: number;
  /** Undefined when the caller got its answer. */
  readonly error?: EndingError | undefined;
}

export interface EndingError {
  readonly code: string;
  readonly kind: string;
  readonly message: string;
}

type Bill = Pick<AttemptOutcome, "report" | "cost" | "estimated"> & {
  readonly unpriced: readonly string[];
  readonly flags: readonly string[];
};

/** What the attempt cost, and the rest of what its spend row says. */
export function outcomeOf(
  attempt: AdmittedAttempt,
  prices: RequestPrices,
  ending: Ending,
  times: { readonly firstByteAt: Date | null; readonly endedAt: Date },
): AttemptOutcome {
  return {
    ...billOf(attempt, prices, ending),
    status: ending.error ? "failure" : "success",
    recovered: false,
    providerResponseId: ending.reading?.responseId ?? null,
    ...times,
    ...(ending.error && { error: ending.error }),
  };
}

/** An attempt whose process died: an unfinished answer, as far as its last checkpoint tells. */
export function outcomeOfOrphan(attempt: Omit<AttemptRow, "reservations">, prices: RequestPrices | undefined): AttemptOutcome {
  const checkpoint = readCheckpoint(attempt.checkpoint);
  const endedAt = attempt.checkpointed_at ?? attempt.started_at;
  const reading = checkpoint && readingOf(checkpoint.report, checkpoint.isFinal ?? false);
  const ending: Ending = { kind: "unfinished", reading, runMs: endedAt.getTime() - attempt.started_at.getTime() };
  const bill = prices
    ? billOf(attempt, prices, ending)
    : {
        report: reportSoFar(reading, attempt.estimated_input_tokens),
        cost: NO_COST,
        estimated: true,
        unpriced: [`price=${attempt.price_id}`],
        flags: [],
      };
  return {
    ...bill,
    status: "failure",
    recovered: true,
    providerResponseId: checkpoint?.providerResponseId ?? null,
    servedCallType: checkpoint?.servedCallType,
    firstByteAt: checkpoint?.firstByteAt ? new Date(checkpoint.firstByteAt) : null,
    endedAt,
    error: { code: "recovered", kind: "ProcessDied", message: "The process that forwarded the request died before its end." },
  };
}

/** A checkpoint's input is the provider's count, or stands in for it already. */
function readingOf(report: UsageReport, isFinal: boolean): UsageReading {
  return { report, isInputReported: true, isFinal, hasOutput: true, isWhole: isFinal, responseId: undefined, model: undefined };
}

const FREE: Bill = { report: NO_REPORT, cost: NO_COST, estimated: false, unpriced: [], flags: [] };

/** An attempt of which it turned out that it was never sent: free, whatever its price is. */
export function outcomeOfUnsent(error: EndingError, endedAt: Date): AttemptOutcome {
  return { ...FREE, status: "failure", recovered: false, providerResponseId: null, firstByteAt: null, endedAt, error };
}

/** What a bill asks of an attempt. */
type Billed = Pick<AdmittedAttempt, "reserved_usd" | "estimated_input_tokens" | "hidden_tokens_per_second" | "max_output_tokens">;

/** The rule: what the provider counted is billed as it counted; where it did not count, what was seen and what can have been made, within bounds. */
function billOf(attempt: Billed, prices: RequestPrices, ending: Ending): Bill {
  if (ending.kind === "free") return FREE;
  const { reading } = ending;
  const reservedPicoUsd = picoUsdFromDecimal(attempt.reserved_usd);
  if (reading?.isFinal && ending.kind !== "nothing") {
    const report = dearerReading(prices, reading.report);
    const priced = priceReport(prices, report);
    const flags = [...(priced.totalPicoUsd > reservedPicoUsd ? ["over_reservation"] : []), ...(priced.isFree ? ["free"] : [])];
    return { report, cost: costOf(priced), estimated: false, unpriced: priced.unpriced, flags };
  }
  const report = dearerReading(prices, estimateOf(attempt, ending));
  const priced = priceReport(prices, report);
  const { cost, isCapped } = capped(priced, larger(reservedPicoUsd, countedPicoUsd(prices, reading)));
  const flags = [
    ...(isCapped ? ["estimate_capped"] : []),
    ...(ending.kind === "nothing" ? ["unreadable_answer"] : []),
    ...(priced.isFree ? ["free"] : []),
  ];
  return { report, cost, estimated: true, unpriced: priced.unpriced, flags };
}

/** Seen and estimated; the output never above what the request may have. */
function estimateOf(attempt: Billed, ending: Ending): UsageReport {
  const report = reportSoFar(ending.reading, attempt.estimated_input_tokens);
  const unseenPerSecond = ending.reading?.countsThinking ? 0 : attempt.hidden_tokens_per_second;
  const unseen = Math.floor((Math.max(0, ending.runMs) * unseenPerSecond) / 1_000);
  const most = ending.kind === "nothing" ? 0 : (attempt.max_output_tokens ?? Infinity);
  return withLastUsage(report, (usage) => ({ ...usage, outputTokens: Math.min(most, Math.max(usage.outputTokens, unseen)) }));
}

/** The part that the provider itself counted: no bound of ours is below it. */
function countedPicoUsd(prices: RequestPrices, reading: UsageReading | undefined): bigint {
  if (!reading?.isInputReported) return 0n;
  return priceReport(
    prices,
    withLastUsage(reading.report, (usage) => ({ ...usage, outputTokens: 0, reasoningTokens: 0 })),
  ).totalPicoUsd;
}

function capped(priced: PricedReport, mostPicoUsd: bigint): { readonly cost: Cost; readonly isCapped: boolean } {
  if (priced.totalPicoUsd <= mostPicoUsd) return { cost: costOf(priced), isCapped: false };
  const inputPicoUsd = priced.inputPicoUsd < mostPicoUsd ? priced.inputPicoUsd : mostPicoUsd;
  const toolPicoUsd = priced.toolPicoUsd < mostPicoUsd - inputPicoUsd ? priced.toolPicoUsd : mostPicoUsd - inputPicoUsd;
  const outputPicoUsd = mostPicoUsd - inputPicoUsd - toolPicoUsd;
  return { cost: costOf({ inputPicoUsd, outputPicoUsd, toolPicoUsd, totalPicoUsd: mostPicoUsd }), isCapped: true };
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

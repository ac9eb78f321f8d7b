import { NO_REPORT, NO_USAGE, reportOf, type Usage, type UsagePart, type UsageReport } from "@proliferate/metering/usage";

/** What is known of an answer while it runs; kept on the attempt about once a second, so that a crash forgets no more than that. */
export interface AttemptCheckpoint {
  /** The totals; all that an older process wrote. */
  readonly usage: Partial<Usage>;
  readonly report?: UsageReport;
  /** The provider's own counts of the whole answer. */
  readonly isFinal?: boolean;
  /** The provider's own id of the answer. Never our identity: providers recycle ids. */
  readonly providerResponseId: string | null;
  /** When the first bytes of the answer came, ISO 8601. */
  readonly firstByteAt: string | null;
  /** As of the outcome. */
  readonly servedCallType?: string | undefined;
}

/**
 * A checkpoint as it was read from the database, of whatever process and age; undefined when it says nothing that can be
 * billed. Never throws: it is read where a crash is cleaned up, and must not stop that.
 */
export function readCheckpoint(stored: unknown): (AttemptCheckpoint & { readonly report: UsageReport }) | undefined {
  const { usage, report, isFinal, providerResponseId, firstByteAt, servedCallType } = recordOf(stored) ?? {};
  const known = reportFrom(report) ?? reportFromTotals(usage);
  if (!known) return undefined;
  const firstByte = typeof firstByteAt === "string" && !Number.isNaN(Date.parse(firstByteAt)) ? firstByteAt : null;
  return {
    usage: {},
    report: known,
    isFinal: isFinal === true,
    providerResponseId: typeof providerResponseId === "string" ? providerResponseId : null,
    firstByteAt: firstByte,
    ...(typeof servedCallType === "string" && { servedCallType }),
  };
}

function reportFrom(stored: unknown): UsageReport | undefined {
  const report = recordOf(stored);
  if (!report || !Array.isArray(report["parts"]) || report["parts"].length === 0) return undefined;
  const parts = partsFrom(report["parts"]);
  if (!parts) return undefined;
  const otherwise = Array.isArray(report["otherwise"]) ? partsFrom(report["otherwise"]) : undefined;
  const uses = Object.fromEntries(Object.entries(recordOf(report["uses"]) ?? {}).filter(([, count]) => isCount(count)));
  const unknown = Array.isArray(report["unknown"]) ? report["unknown"].filter((name) => typeof name === "string") : [];
  return { ...NO_REPORT, parts, ...(otherwise && { otherwise }), uses, unknown, raw: recordOf(report["raw"]) };
}

function partsFrom(stored: readonly unknown[]): readonly UsagePart[] | undefined {
  const parts = stored.map(partFrom);
  return parts.every((part) => part !== undefined) ? parts : undefined;
}

function partFrom(stored: unknown): UsagePart | undefined {
  const part = recordOf(stored);
  const usage = usageFrom(part?.["usage"]);
  if (!part || !usage) return undefined;
  const modifiers = Object.fromEntries(Object.entries(recordOf(part["modifiers"]) ?? {}).filter(([, value]) => typeof value === "string"));
  const waived = part["waived"] === "refusal" ? ({ waived: "refusal" } as const) : {};
  return { model: typeof part["model"] === "string" ? part["model"] : undefined, usage, modifiers, ...waived };
}

function reportFromTotals(stored: unknown): UsageReport | undefined {
  const usage = usageFrom(stored);
  return usage && reportOf(usage);
}

/** Classes that are missing are 0; one that is no count makes the whole unusable. */
function usageFrom(stored: unknown): Usage | undefined {
  const counts = recordOf(stored);
  if (!counts) return undefined;
  const names = Object.keys(NO_USAGE) as (keyof Usage)[];
  if (!names.every((name) => counts[name] === undefined || isCount(counts[name]))) return undefined;
  return { ...NO_USAGE, ...Object.fromEntries(names.flatMap((name) => (counts[name] === undefined ? [] : [[name, counts[name]]]))) };
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

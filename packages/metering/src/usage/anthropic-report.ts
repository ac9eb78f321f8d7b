import { objectOf } from "./sse-data.ts";
import { FALLEN, keptRaw, saysSomething, UnknownUsage, UsageFields } from "./usage-fields.ts";
import type { FeeCounts, UsageModifiers, UsagePart, UsageReport } from "./usage-report.ts";
import { addUsage, INPUT_CLASSES, NO_USAGE, promptTokens, type Usage } from "./usage.ts";

type InputClass = (typeof INPUT_CLASSES)[number];

/** All of an Anthropic answer that its price depends on; kept on the row, so that it can be read again. */
export interface AnthropicAnswer {
  readonly model: string | undefined;
  readonly usage: Readonly<Record<string, unknown>> | undefined;
  readonly stopReason: string | undefined;
  /** Whether any content block began. */
  readonly hasContent: boolean;
  /** Counts fell on the way, which cumulative ones cannot; `usage` has the larger. Default false. */
  readonly hasFallen?: boolean;
}

export interface ReadReport {
  readonly report: UsageReport;
  readonly isInputReported: boolean;
  readonly isOutputReported: boolean;
}

/**
 * What Anthropic charges for an answer. Where `iterations` are reported the bill is the sum over them, each at its own
 * model: they hold what the top level leaves out (compaction, advisor, declined attempts), and never less than it. A
 * refusal before any content costs nothing, and neither does an attempt that a fallback replaced before it wrote anything.
 */
export function readAnthropicReport(answer: AnthropicAnswer): ReadReport {
  const unknown = new UnknownUsage();
  const fields = new UsageFields(answer.usage ?? {}, "", unknown);
  const top = readCounts(fields, unknown);
  const modifiers = {
    serviceTier: fields.word("service_tier", ["standard"]),
    speed: fields.word("speed", ["standard"]),
    geography: fields.word("inference_geo", ["global", "not_available"]),
  };
  const iterations = fields.value("iterations");
  const uses = readUses(fields);
  readFallbackCredit(fields, unknown);
  if (answer.hasFallen) unknown.add(FALLEN);
  fields.end();
  const passes = readPasses(iterations, answer.model, top.usage, modifiers, unknown);
  const parts = passes ? passes.map(({ part }) => part) : [{ model: answer.model, usage: top.usage, modifiers }];
  const otherwise = passes && partsByTopLevel(passes, top.usage, unknown);
  const isRefused = answer.stopReason === "refusal" && !answer.hasContent && top.isOutputReported;
  const raw =
    answer.usage &&
    keptRaw(
      {
        model: answer.model,
        stop_reason: answer.stopReason,
        has_content: answer.hasContent,
        ...(answer.hasFallen && { has_fallen: true }),
        usage: answer.usage,
      },
      unknown,
    );
  return {
    report: {
      parts: isRefused ? parts.map((part) => ({ ...part, waived: "refusal" as const })) : parts,
      ...(otherwise && !isRefused && { otherwise }),
      uses,
      unknown: unknown.names(),
      raw,
    },
    isInputReported: top.isInputReported,
    isOutputReported: top.isOutputReported,
  };
}

/** The answer back out of what a report kept of it. */
export function anthropicAnswerOf(raw: Readonly<Record<string, unknown>>): AnthropicAnswer {
  const text = (name: string): string | undefined => (typeof raw[name] === "string" ? (raw[name] as string) : undefined);
  return {
    model: text("model"),
    stopReason: text("stop_reason"),
    hasContent: raw["has_content"] === true,
    hasFallen: raw["has_fallen"] === true,
    usage: objectOf(raw["usage"]),
  };
}

interface Counts {
  readonly usage: Usage;
  readonly isInputReported: boolean;
  readonly isOutputReported: boolean;
}

function readCounts(fields: UsageFields, unknown: UnknownUsage): Counts {
  const inputTokens = fields.count("input_tokens");
  const outputTokens = fields.count("output_tokens");
  const cacheReadTokens = fields.count("cache_read_input_tokens") ?? 0;
  const details = fields.object("output_tokens_details");
  const reasoningTokens = Math.min(details?.count("thinking_tokens") ?? 0, outputTokens ?? 0);
  details?.end();
  const usage = {
    ...NO_USAGE,
    inputTokens: inputTokens ?? 0,
    cacheReadTokens,
    ...readCacheWrites(fields, unknown),
    outputTokens: outputTokens ?? 0,
    reasoningTokens,
  };
  return { usage, isInputReported: inputTokens !== undefined, isOutputReported: outputTokens !== undefined };
}

/**
 * The total, or the split by lifetime where that is more. What is not split is all 5 minutes, Anthropic's default. What a
 * split leaves out (the end of a stream gives the total alone, grown by later passes) lives as long as what it names; where
 * it names both lifetimes it is the longer one, the dearer, and flagged.
 */
function readCacheWrites(fields: UsageFields, unknown: UnknownUsage): Pick<Usage, "cacheWrite5mTokens" | "cacheWrite1hTokens"> {
  const split = fields.object("cache_creation");
  const known1h = split?.count("ephemeral_1h_input_tokens") ?? 0;
  const known5m = split?.count("ephemeral_5m_input_tokens") ?? 0;
  split?.end();
  const rest = Math.max(0, (fields.count("cache_creation_input_tokens") ?? 0) - known1h - known5m);
  if (rest === 0 || known1h === 0) return { cacheWrite1hTokens: known1h, cacheWrite5mTokens: known5m + rest };
  if (known5m > 0) unknown.add("cache_creation=less than the whole");
  return { cacheWrite1hTokens: known1h + rest, cacheWrite5mTokens: known5m };
}

/** Web fetches cost nothing beside their tokens. */
function readUses(fields: UsageFields): FeeCounts {
  const tools = fields.object("server_tool_use");
  const webSearch = tools?.count("web_search_requests") ?? 0;
  tools?.ignore("web_fetch_requests");
  tools?.end();
  return webSearch > 0 ? { webSearch } : {};
}

/** A credit that was applied changes the price in a way that the counts do not show. */
function readFallbackCredit(fields: UsageFields, unknown: UnknownUsage): void {
  const credit = fields.value("fallback_credit");
  const status = objectOf(objectOf(credit)?.["status"])?.["type"];
  if (saysSomething(credit) && status !== "not_applied") unknown.add("fallback_credit");
}

/** More than any loop of a provider. Of a longer list the rest is what the top level has beyond these. */
const MOST_ITERATIONS = 1_000;
const ITERATIONS = ["message", "compaction", "advisor_message", "fallback_message"] as const;

interface Iteration {
  readonly kind: string;
  readonly part: UsagePart;
}

function readPasses(
  value: unknown,
  servedBy: string | undefined,
  top: Usage,
  modifiers: UsageModifiers,
  unknown: UnknownUsage,
): readonly Iteration[] | undefined {
  if (!Array.isArray(value)) {
    if (saysSomething(value)) unknown.add("iterations");
    return undefined;
  }
  if (value.length > MOST_ITERATIONS) unknown.add(`iterations=more than ${MOST_ITERATIONS}`);
  const entries = value.slice(0, MOST_ITERATIONS).flatMap((entry) => {
    const wire = objectOf(entry);
    if (!wire) unknown.add("iterations[]");
    return wire ? [wire] : [];
  });
  if (entries.length === 0) return undefined;
  const isFallback = entries.some((entry) => entry["type"] === "fallback_message");
  // With a fallback, the top level names the model that served in the end; an entry without a model is the one that was asked.
  const iterations = entries.map((entry) => readIteration(entry, isFallback ? undefined : servedBy, modifiers, unknown));
  const parts = iterations.map(({ kind, part }) =>
    isFallback && kind === "message" && part.usage.outputTokens === 0 ? { ...part, waived: "refusal" as const } : part,
  );
  return withRest(withReasoning(parts, top.reasoningTokens), servedBy, top, modifiers, unknown).map((part, index) => ({
    kind: iterations[index]?.kind ?? "message",
    part,
  }));
}

function readIteration(
  wire: Readonly<Record<string, unknown>>,
  asked: string | undefined,
  modifiers: UsageModifiers,
  unknown: UnknownUsage,
): Iteration {
  const fields = new UsageFields(wire, "iterations[].", unknown);
  const kind = fields.word("type", []) ?? "";
  if (!(ITERATIONS as readonly string[]).includes(kind)) unknown.add(`iterations[].type=${kind}`);
  const model = fields.word("model", []) ?? asked;
  const { usage } = readCounts(fields, unknown);
  fields.end();
  // An advisor is another model at its own speed; where it runs, and in which tier, is the request's.
  return { kind, part: { model, usage, modifiers: kind === "advisor_message" ? { ...modifiers, speed: undefined } : modifiers } };
}

/** Reasoning is reported once for all entries: it is laid on the first that can hold it. */
function withReasoning(parts: readonly UsagePart[], reasoningTokens: number): readonly UsagePart[] {
  let left = reasoningTokens;
  return parts.map((part) => {
    const taken = Math.min(left, part.usage.outputTokens);
    left -= taken;
    return taken > 0 ? { ...part, usage: { ...part.usage, reasoningTokens: taken } } : part;
  });
}

/** Entries that add up to less than the top level have left something out: it is billed as a part of its own, and flagged. */
function withRest(
  parts: readonly UsagePart[],
  model: string | undefined,
  top: Usage,
  modifiers: UsageModifiers,
  unknown: UnknownUsage,
): readonly UsagePart[] {
  const sum = parts.reduce((total, part) => addUsage(total, part.usage), NO_USAGE);
  const missingInput = promptTokens(top) - promptTokens(sum);
  const missingOutput = top.outputTokens - sum.outputTokens;
  if (missingInput <= 0 && missingOutput <= 0) return parts;
  unknown.add("iterations=less than the whole");
  const usage = { ...NO_USAGE, inputTokens: Math.max(0, missingInput), outputTokens: Math.max(0, missingOutput) };
  return [...parts, { model, usage, modifiers }];
}

/** What the top level sums up, as far as its passes are known to it. */
const IN_TOP_LEVEL: readonly string[] = ["message", "fallback_message"];

/**
 * The same passes, each as large as it says, with the classes of input that the top level says. Undefined unless the top
 * level has more of a class than all of the passes: that cannot both be true, and classes differ in price.
 */
function partsByTopLevel(passes: readonly Iteration[], top: Usage, unknown: UnknownUsage): readonly UsagePart[] | undefined {
  const sum = passes.reduce((total, { part }) => addUsage(total, part.usage), NO_USAGE);
  if (INPUT_CLASSES.every((name) => top[name] <= sum[name])) return undefined;
  unknown.add("iterations=other classes than the whole");
  const left: Record<InputClass, number> = { ...top };
  const take = (part: UsagePart): UsagePart => {
    let room = promptTokens(part.usage);
    const taken = Object.fromEntries(
      INPUT_CLASSES.map((name) => {
        const tokens = Math.min(left[name], room);
        left[name] -= tokens;
        room -= tokens;
        return [name, tokens];
      }),
    ) as Record<InputClass, number>;
    // What the top level does not cover is as the pass says, as far as that can be told: plain.
    return { ...part, usage: { ...part.usage, ...taken, inputTokens: taken.inputTokens + room } };
  };
  return passes.map(({ kind, part }) => (IN_TOP_LEVEL.includes(kind) && !part.waived ? take(part) : part));
}

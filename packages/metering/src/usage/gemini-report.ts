import type { ReadReport } from "./anthropic-report.ts";
import { objectOf, textOf } from "./sse-data.ts";
import { FALLEN, isCount, keptRaw, UnknownUsage, UsageFields } from "./usage-fields.ts";
import { NO_USAGE, type Usage } from "./usage.ts";

/** All of an answer of Gemini that its price depends on; kept on the row, so that it can be read again. */
interface GeminiAnswer {
  readonly model: string | undefined;
  /** `usageMetadata`, the last that came. */
  readonly usage: Readonly<Record<string, unknown>> | undefined;
  /** Counts fell on the way, which cumulative ones cannot; `usage` has the larger. Default false. */
  readonly hasFallen?: boolean;
  /** The answer rests on searches, each of which has a fee that no usage counts. Default false. */
  readonly isGrounded?: boolean;
}

/** In `unknown` where the provider searched: what a search costs is not billed. */
const GROUNDED = "groundingMetadata=searches are not counted";
/** What is served to everybody at the listed price. */
const STANDARD_TRAFFIC = ["ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED"];
const STANDARD_TIERS = ["standard", "unspecified", "STANDARD", "SERVICE_TIER_UNSPECIFIED", "SERVICE_TIER_STANDARD"];

/** What Google charges for an answer of Gemini: its tokens. */
export function readGeminiReport({ model, usage: wire, hasFallen = false, isGrounded = false }: GeminiAnswer): ReadReport {
  const unknown = new UnknownUsage();
  const { usage, serviceTier, isReported } = readGeminiCounts(wire ?? {}, unknown);
  if (hasFallen) unknown.add(FALLEN);
  if (isGrounded) unknown.add(GROUNDED);
  const raw =
    wire && keptRaw({ model, ...(hasFallen && { has_fallen: true }), ...(isGrounded && { is_grounded: true }), usage: wire }, unknown);
  return {
    report: { parts: [{ model, usage, modifiers: { serviceTier } }], uses: {}, unknown: unknown.names(), raw },
    isInputReported: isReported,
    isOutputReported: isReported,
  };
}

/** The answer back out of what a report kept of it. */
export function geminiAnswerOf(raw: Readonly<Record<string, unknown>>): GeminiAnswer {
  return {
    model: textOf(raw["model"]),
    usage: objectOf(raw["usage"]),
    hasFallen: raw["has_fallen"] === true,
    isGrounded: raw["is_grounded"] === true,
  };
}

/** All tokens of one usage, by which two of them are compared; 0 where it counts nothing. */
export function geminiTokens(usage: Readonly<Record<string, unknown>>): number {
  return ["promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"].reduce(
    (sum, name) => sum + (isCount(usage[name]) ? usage[name] : 0),
    0,
  );
}

interface GeminiCounts {
  readonly usage: Usage;
  readonly serviceTier: string | undefined;
  /** The prompt was counted, and no count is one that cannot be true. */
  readonly isReported: boolean;
}

/**
 * The counts by class. The prompt includes what was read from a cache; results of the provider's tools are input beside it. Thoughts stand beside the
 * candidates and are output. A count of 0 is left out of the wire. A total that is larger than all of them is the truth about the output, and flagged.
 */
function readGeminiCounts(wire: Readonly<Record<string, unknown>>, unknown: UnknownUsage): GeminiCounts {
  const fields = new UsageFields(wire, "", unknown);
  const prompt = fields.count("promptTokenCount");
  const cached = fields.count("cachedContentTokenCount") ?? 0;
  const ofTools = fields.count("toolUsePromptTokenCount") ?? 0;
  const candidates = fields.count("candidatesTokenCount") ?? 0;
  const thoughts = fields.count("thoughtsTokenCount") ?? 0;
  const total = fields.count("totalTokenCount") ?? 0;
  const isBeside = cached > (prompt ?? 0);
  if (isBeside) unknown.add("promptTokenCount=less than its parts");
  const uncached = isBeside ? (prompt ?? 0) : (prompt ?? 0) - cached;
  const heard = readModalities(fields, "promptTokensDetails", unknown);
  const heardCached = Math.min(readModalities(fields, "cacheTokensDetails", unknown), cached);
  // What was read from a cache is in the details of the prompt, too.
  const audio = Math.min(Math.max(0, heard - heardCached), uncached);
  const audioOfTools = Math.min(readModalities(fields, "toolUsePromptTokensDetails", unknown), ofTools);
  const spoken = Math.min(readModalities(fields, "candidatesTokensDetails", unknown, ["IMAGE", "VIDEO"]), candidates);
  const beside = prompt === undefined ? 0 : Math.max(0, total - (isBeside ? prompt + cached : prompt) - ofTools - candidates - thoughts);
  if (beside > 0) unknown.add("totalTokenCount=more than its parts");
  const serviceTier = fields.word("serviceTier", STANDARD_TIERS) ?? fields.word("trafficType", STANDARD_TRAFFIC);
  fields.ignore("initialPromptTokenCount", "trafficType");
  fields.end();
  return {
    usage: {
      ...NO_USAGE,
      inputTokens: uncached - audio + ofTools - audioOfTools,
      cacheReadTokens: cached - heardCached,
      audioInputTokens: audio + audioOfTools,
      audioCacheReadTokens: heardCached,
      outputTokens: candidates - spoken + thoughts + beside,
      audioOutputTokens: spoken,
      reasoningTokens: thoughts,
    },
    serviceTier,
    isReported: prompt !== undefined && COUNTS.every((name) => wire[name] === undefined || wire[name] === null || isCount(wire[name])),
  };
}

/** Each of them leads to another price: one that cannot be true leaves nothing that can be billed. */
const COUNTS = ["promptTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"];
/** Modalities that cost what text costs. */
const AS_TEXT = ["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "MODALITY_UNSPECIFIED"];
const MOST_DETAILS = 16;

/** How many tokens of a list of details are sound. Other modalities are text; those in `apart`, and those that nobody knows, are named. */
function readModalities(fields: UsageFields, name: string, unknown: UnknownUsage, apart: readonly string[] = []): number {
  const value = fields.value(name);
  if (value === undefined || value === null) return 0;
  if (!Array.isArray(value) || value.length > MOST_DETAILS) return (unknown.add(name), 0);
  let sound = 0;
  for (const item of value) {
    const modality = objectOf(item)?.["modality"];
    const tokens = objectOf(item)?.["tokenCount"] ?? 0;
    if (!isCount(tokens)) unknown.add(`${name}=out of range`);
    else if (modality === "AUDIO") sound += tokens;
    else if (tokens > 0 && (typeof modality !== "string" || !AS_TEXT.includes(modality) || apart.includes(modality)))
      unknown.add(`${name}=${typeof modality === "string" ? modality : "no modality"}`);
  }
  return sound;
}

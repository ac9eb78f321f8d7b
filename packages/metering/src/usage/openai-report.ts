import { objectOf } from "./sse-data.ts";
import type { ReadReport } from "./anthropic-report.ts";
import { FALLEN, keptRaw, UnknownUsage, UsageFields } from "./usage-fields.ts";
import { NO_USAGE, promptTokens, type Usage } from "./usage.ts";

/** All of an OpenAI chat completion that its price depends on; kept on the row, so that it can be read again. */
export interface OpenAIAnswer {
  readonly model: string | undefined;
  readonly usage: Readonly<Record<string, unknown>> | undefined;
  /** The tier that served, beside the usage. */
  readonly serviceTier: unknown;
  /** Default: the request leads to none. */
  readonly search?: Search | undefined;
  /** Counts fell on the way, which cumulative ones cannot; `usage` has the larger. Default false. */
  readonly hasFallen?: boolean;
}

/**
 * Whether the provider searched the web for the answer, as far as the request tells: its usage never does. `certain`: a model
 * that searches before each answer; that is one call. `possible`: the model may have.
 */
export type Search = "certain" | "possible";

/** `on_demand` is what Groq calls its standard. */
const STANDARD_TIERS = ["default", "standard", "on_demand"];

/**
 * What compatible servers put beside the counts in every answer, and what changes no price of ours: how long it took (Groq),
 * what the server itself charged for it (OpenRouter, xAI), and the part of the prompt that was not cached (DeepSeek).
 */
const COST_NOTHING = [
  "queue_time",
  "prompt_time",
  "completion_time",
  "total_time",
  "cost",
  "cost_details",
  "is_byok",
  "cost_in_usd_ticks",
  "prompt_cache_miss_tokens",
];

/** Where compatible servers say what was cached, besides `prompt_tokens_details`: DeepSeek; Moonshot and Together. */
const CACHED_ELSEWHERE = ["prompt_cache_hit_tokens", "cached_tokens"];

/**
 * What OpenAI charges for a completion. `prompt_tokens` includes cached tokens, cache writes and audio,
 * `completion_tokens` reasoning and audio. Parts that are more than their whole cannot be in it: some servers count them beside
 * it, so they are billed beside it, and flagged. A total that is larger than both is the truth about the output.
 */
export function readOpenAIReport(answer: OpenAIAnswer): ReadReport {
  const unknown = new UnknownUsage();
  const fields = new UsageFields(answer.usage ?? {}, "", unknown);
  const prompt = fields.count("prompt_tokens");
  const input = { ...NO_USAGE, ...readPrompt(fields, prompt ?? 0, unknown) };
  const completion = readCompletionTotal(fields, prompt === undefined ? undefined : promptTokens(input), unknown);
  fields.ignore(...COST_NOTHING);
  const usage: Usage = { ...input, ...readCompletion(fields, completion ?? 0, unknown) };
  fields.end();
  const serviceTier = new UsageFields({ service_tier: answer.serviceTier }, "", unknown).word("service_tier", STANDARD_TIERS);
  const { search } = answer;
  if (search === "possible") unknown.add("web_search=not counted");
  if (answer.hasFallen) unknown.add(FALLEN);
  const raw =
    answer.usage &&
    keptRaw(
      {
        model: answer.model,
        service_tier: answer.serviceTier,
        ...(search && { search }),
        ...(answer.hasFallen && { has_fallen: true }),
        usage: answer.usage,
      },
      unknown,
    );
  return {
    report: {
      parts: [{ model: answer.model, usage, modifiers: { serviceTier } }],
      uses: search === "certain" ? { webSearch: 1 } : {},
      unknown: unknown.names(),
      raw,
    },
    isInputReported: prompt !== undefined && completion !== undefined,
    isOutputReported: prompt !== undefined && completion !== undefined,
  };
}

/** The answer back out of what a report kept of it. */
export function openAIAnswerOf(raw: Readonly<Record<string, unknown>>): OpenAIAnswer {
  return {
    model: typeof raw["model"] === "string" ? raw["model"] : undefined,
    serviceTier: raw["service_tier"],
    usage: objectOf(raw["usage"]),
    hasFallen: raw["has_fallen"] === true,
    search: raw["search"] === "certain" || raw["search"] === "possible" ? raw["search"] : undefined,
  };
}

/**
 * Some servers (xAI, Gemini) count reasoning in `total_tokens` alone, and charge it as output. Flagged unless it is just the
 * reasoning that they report.
 */
function readCompletionTotal(fields: UsageFields, prompt: number | undefined, unknown: UnknownUsage): number | undefined {
  const completion = fields.count("completion_tokens");
  const total = fields.count("total_tokens");
  if (prompt === undefined || completion === undefined || total === undefined) return completion;
  const beside = total - prompt - completion;
  if (beside <= 0) return completion;
  if (objectOf(fields.value("completion_tokens_details"))?.["reasoning_tokens"] !== beside) unknown.add("total_tokens=more than its parts");
  return completion + beside;
}

function readPrompt(fields: UsageFields, prompt: number, unknown: UnknownUsage): Partial<Usage> {
  const details = fields.object("prompt_tokens_details");
  // Images are priced as text by the models that are served here.
  details?.ignore("text_tokens", "image_tokens");
  const elsewhere = CACHED_ELSEWHERE.map((name) => fields.count(name) ?? 0);
  const cached = details?.count("cached_tokens") ?? Math.max(...elsewhere);
  const written = details?.count("cache_write_tokens") ?? 0;
  const isBeside = cached + written > prompt;
  if (isBeside) unknown.add("prompt_tokens=less than its parts");
  const uncached = isBeside ? prompt : prompt - cached - written;
  const lifetimes = details?.object("cache_write_tokens_details");
  const written12h = Math.min(lifetimes?.count("ttl_12h_tokens") ?? 0, written);
  lifetimes?.ignore("ttl_30m_tokens");
  lifetimes?.end();
  const cachedAudio = readCachedAudio(details, cached);
  const audio = Math.min(details?.count("audio_tokens") ?? 0, uncached);
  details?.end();
  return {
    inputTokens: uncached - audio,
    cacheReadTokens: cached - cachedAudio,
    audioCacheReadTokens: cachedAudio,
    // A provider's ordinary cache write (30 minutes), and its longer one (12 hours): the classes are named by Anthropic's lifetimes.
    cacheWrite5mTokens: written - written12h,
    cacheWrite1hTokens: written12h,
    audioInputTokens: audio,
  };
}

function readCachedAudio(details: UsageFields | undefined, cached: number): number {
  const split = details?.object("cached_tokens_details");
  const audio = Math.min(split?.count("audio_tokens") ?? 0, cached);
  split?.ignore("text_tokens", "image_tokens");
  split?.end();
  return audio;
}

function readCompletion(fields: UsageFields, completion: number, unknown: UnknownUsage): Partial<Usage> {
  const details = fields.object("completion_tokens_details");
  // Predicted tokens are charged as output, accepted or not, and are counted in it.
  details?.ignore("text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens");
  const audioOutputTokens = details?.count("audio_tokens") ?? 0;
  const reasoningTokens = details?.count("reasoning_tokens") ?? 0;
  details?.end();
  const parts = audioOutputTokens + reasoningTokens;
  if (parts > completion) unknown.add("completion_tokens=less than its parts");
  const whole = parts > completion ? completion + parts : completion;
  return { outputTokens: whole - audioOutputTokens, audioOutputTokens, reasoningTokens };
}

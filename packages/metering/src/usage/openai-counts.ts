import { objectOf } from "./sse-data.ts";
import { type UnknownUsage, UsageFields } from "./usage-fields.ts";
import { NO_USAGE, promptTokens, type Usage } from "./usage.ts";

/** Under which names a wire of OpenAI's has the counts of the whole, and those of their parts. */
interface OpenAINames {
  readonly prompt: string;
  readonly promptDetails: string;
  /** Undefined where nothing is written. */
  readonly completion: string | undefined;
  readonly completionDetails: string;
}

/** Of chat completions. */
export const CHAT_NAMES: OpenAINames = {
  prompt: "prompt_tokens",
  promptDetails: "prompt_tokens_details",
  completion: "completion_tokens",
  completionDetails: "completion_tokens_details",
};
/** Of responses. */
export const RESPONSES_NAMES: OpenAINames = {
  prompt: "input_tokens",
  promptDetails: "input_tokens_details",
  completion: "output_tokens",
  completionDetails: "output_tokens_details",
};
/** Of embeddings, which have no output. */
export const EMBEDDING_NAMES: OpenAINames = { ...CHAT_NAMES, completion: undefined };

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
 * The counts of one answer by class. The prompt includes cached tokens, cache writes and audio, the completion reasoning and
 * audio. Parts that are more than their whole cannot be in it: some servers count them beside it, so they are billed beside
 * it, and flagged. A total that is larger than both is the truth about the output. `isReported`: both of the whole were given.
 */
export function readOpenAICounts(
  wire: Readonly<Record<string, unknown>>,
  names: OpenAINames,
  unknown: UnknownUsage,
): { readonly usage: Usage; readonly isReported: boolean } {
  const fields = new UsageFields(wire, "", unknown);
  const prompt = readPromptTotal(fields, names);
  const input = { ...NO_USAGE, ...readPrompt(fields, names, prompt ?? 0, unknown) };
  const completion = readCompletionTotal(fields, names, prompt === undefined ? undefined : promptTokens(input), unknown);
  fields.ignore(...COST_NOTHING);
  const usage: Usage = { ...input, ...readCompletion(fields, names, completion ?? 0, unknown) };
  fields.end();
  return { usage, isReported: prompt !== undefined && completion !== undefined };
}

/** The tier that served, where it is not the standard. */
export function readServiceTier(value: unknown, unknown: UnknownUsage): string | undefined {
  return new UsageFields({ service_tier: value }, "", unknown).word("service_tier", STANDARD_TIERS);
}

/** Where nothing is written some servers give the total alone. */
function readPromptTotal(fields: UsageFields, names: OpenAINames): number | undefined {
  const prompt = fields.count(names.prompt);
  return prompt === undefined && names.completion === undefined ? fields.count("total_tokens") : prompt;
}

/**
 * Some servers (xAI, Gemini) count reasoning in `total_tokens` alone, and charge it as output. Flagged unless it is just the
 * reasoning that they report.
 */
function readCompletionTotal(
  fields: UsageFields,
  names: OpenAINames,
  prompt: number | undefined,
  unknown: UnknownUsage,
): number | undefined {
  // What has no output leaves the count of it out.
  const completion = names.completion === undefined ? 0 : fields.count(names.completion);
  const total = fields.count("total_tokens");
  if (prompt === undefined || completion === undefined || total === undefined) return completion;
  const beside = total - prompt - completion;
  if (beside <= 0) return completion;
  if (objectOf(fields.value(names.completionDetails))?.["reasoning_tokens"] !== beside) unknown.add("total_tokens=more than its parts");
  return completion + beside;
}

function readPrompt(fields: UsageFields, names: OpenAINames, prompt: number, unknown: UnknownUsage): Partial<Usage> {
  const details = fields.object(names.promptDetails);
  // Images are priced as text by the models that are served here.
  details?.ignore("text_tokens", "image_tokens");
  const elsewhere = CACHED_ELSEWHERE.map((name) => fields.count(name) ?? 0);
  const cached = details?.count("cached_tokens") ?? Math.max(...elsewhere);
  const written = details?.count("cache_write_tokens") ?? 0;
  const isBeside = cached + written > prompt;
  if (isBeside) unknown.add(`${names.prompt}=less than its parts`);
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

function readCompletion(fields: UsageFields, names: OpenAINames, completion: number, unknown: UnknownUsage): Partial<Usage> {
  const details = fields.object(names.completionDetails);
  // Predicted tokens are charged as output, accepted or not, and are counted in it.
  details?.ignore("text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens");
  const audioOutputTokens = details?.count("audio_tokens") ?? 0;
  const reasoningTokens = details?.count("reasoning_tokens") ?? 0;
  details?.end();
  const parts = audioOutputTokens + reasoningTokens;
  if (parts > completion) unknown.add(`${names.completion ?? "output"}=less than its parts`);
  const whole = parts > completion ? completion + parts : completion;
  return { outputTokens: whole - audioOutputTokens, audioOutputTokens, reasoningTokens };
}

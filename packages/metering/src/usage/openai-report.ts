import { objectOf } from "./sse-data.ts";
import type { ReadReport } from "./anthropic-report.ts";
import { CHAT_NAMES, readOpenAICounts, readServiceTier } from "./openai-counts.ts";
import { FALLEN, keptRaw, UnknownUsage } from "./usage-fields.ts";

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

/** What OpenAI charges for a completion. */
export function readOpenAIReport(answer: OpenAIAnswer): ReadReport {
  const unknown = new UnknownUsage();
  const { usage, isReported } = readOpenAICounts(answer.usage ?? {}, CHAT_NAMES, unknown);
  const serviceTier = readServiceTier(answer.serviceTier, unknown);
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
    isInputReported: isReported,
    isOutputReported: isReported,
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

import { AppError } from "@proliferate/shared/errors";

/**
 * Everything that a request can ask for and that some dialect cannot say. Each writer says what becomes of each of them ({@link Sayings}), so a new
 * one is decided on for every dialect, or the code does not compile.
 */
export type Feature =
  | "audio"
  | "cacheKey"
  | "cacheMark"
  | "choices"
  | "citations"
  | "document"
  | "documentContext"
  | "documentTitle"
  | "freeformTool"
  | "frequencyPenalty"
  | "image"
  | "imageDetail"
  | "jsonOutput"
  | "logitBias"
  | "maxOutputTokens"
  | "metadata"
  | "parallelToolCalls"
  | "participantName"
  | "presencePenalty"
  | "reasoning"
  | "refusal"
  | "schemaOutput"
  | "seed"
  | "serviceTier"
  | "stop"
  | "stream"
  | "streamUsage"
  | "strictTool"
  | "system"
  | "temperature"
  | "text"
  | "thinking"
  | "toolCall"
  | "toolChoice"
  | "toolError"
  | "toolResult"
  | "toolResultMedia"
  | "tools"
  | "topK"
  | "topP"
  | "user"
  | "verbosity";

/** What a writer does with a feature: `kept` under a field that means the same, `translated` to something near, or not said at all. */
type Saying =
  | { readonly fate: "kept" | "translated"; readonly as: string }
  | { readonly fate: "dropped" | "refused"; readonly why: string };

/** Of one writer, for every feature. */
export type Sayings = Readonly<Record<Feature, Saying>>;

/** So many fields are named; the rest is told as `…`. */
const MOST_NAMED = 48;

/** The same field of every element of a list is told once. */
function patternOf(path: string): string {
  return path.replaceAll(/\[\d+\]/g, "[]");
}

/** What one translation uses, drops and changes: told to the caller in headers. Bounded by the number of fields that dialects have. */
export class Notes {
  readonly #used = new Map<Feature, { readonly first: string; readonly patterns: Set<string> }>();
  readonly #dropped = new Set<string>();
  readonly #changed = new Set<string>();

  /** A feature is asked for at a place of the caller's body. */
  use(feature: Feature, path: string): void {
    const used = this.#used.get(feature);
    if (used) add(used.patterns, patternOf(path));
    else this.#used.set(feature, { first: path, patterns: new Set([patternOf(path)]) });
  }

  /** What stands there goes no further. */
  drop(path: string): void {
    add(this.#dropped, patternOf(path));
  }

  /** What stands there goes on in another value than the caller's. */
  change(path: string): void {
    add(this.#changed, patternOf(path));
  }

  /** Where a feature is asked for, first of all; its name where nobody asks for it. */
  placeOf(feature: Feature): string {
    return this.#used.get(feature)?.first ?? feature;
  }

  /** Whether the body asks for it anywhere. */
  isUsed(feature: Feature): boolean {
    return this.#used.has(feature);
  }

  /** Drops what the body asks for under a feature. */
  dropFeature(feature: Feature): void {
    for (const pattern of this.#used.get(feature)?.patterns ?? []) add(this.#dropped, pattern);
  }

  /** Says of what is used that it is changed. */
  changeFeature(feature: Feature): void {
    for (const pattern of this.#used.get(feature)?.patterns ?? []) add(this.#changed, pattern);
  }

  /** Holds everything that is used against what the writer can say. Throws `not_translatable` with the first place of what it refuses. */
  hold(sayings: Sayings): void {
    for (const [feature, { first }] of this.#used) {
      const saying = sayings[feature];
      if (saying.fate === "refused") throw notTranslatable(first, saying.why);
      if (saying.fate === "dropped") this.dropFeature(feature);
    }
  }

  /** Patterns of paths, sorted. */
  get droppedFields(): readonly string[] {
    return [...this.#dropped].toSorted();
  }

  /** Patterns of paths, sorted. */
  get changedFields(): readonly string[] {
    return [...this.#changed].toSorted();
  }
}

function add(names: Set<string>, name: string): void {
  names.add(names.size < MOST_NAMED || names.has(name) ? name : "…");
}

/** What a body calls itself, for a sentence: a word in quotes, and nothing of what is no word. */
export function quoted(value: unknown): string {
  return typeof value === "string" ? `"${value.slice(0, 64)}"` : "that is missing";
}

/** The body asks for what the provider's API has not, at this path. */
export function notTranslatable(path: string, why: string): AppError {
  const param = path.slice(0, 128);
  return new AppError("not_translatable", `${param} cannot be translated for the API that this model is served in: ${why}.`, { param });
}

/** The body is no request of its API, at this path. */
export function malformed(path: string, problem: string): AppError {
  const param = path.slice(0, 128);
  return new AppError("invalid_request", `${param} ${problem}.`, { param });
}

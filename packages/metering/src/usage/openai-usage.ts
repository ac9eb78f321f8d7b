import type { FrameVerdict } from "./frame-relay.ts";
import { FrameUsageReader } from "./frame-usage-reader.ts";
import { type OpenAIAnswer, readOpenAIReport, type Search } from "./openai-report.ts";
import {
  estimateOutputTokens,
  type FrameText,
  frameText,
  measureJsonStrings,
  objectOf,
  parseFrameData,
  parseJsonObject,
  textLength,
  textOf,
} from "./sse-data.ts";
import { isCount, isUncounted, NO_OUTPUT } from "./usage-fields.ts";
import type { UsageReading } from "./usage-reader.ts";
import { totals, type UsageReport, withLastUsage, withUnknown } from "./usage-report.ts";
import { completionTokens, promptTokens } from "./usage.ts";

/** The fields in which text comes, written with a space or without. */
const DELTA_MARKERS = ["content", "arguments", "reasoning_content", "reasoning", "refusal"].flatMap((name) => [
  `"${name}":"`,
  `"${name}": "`,
]);

/** OpenAI's own limit of `n`. */
const MOST_CHOICES = 128;

/** The first chunk of a choice, and its last. Neither can be in the model's text, whose quotes are escaped. */
const CHOICE_EDGE = /"(role|finish_reason)"\s*:\s*"/;

/** What a request says that its answer's bill depends on, and the answer does not repeat. */
interface AskedOfOpenAI {
  readonly search?: Search | undefined;
  /** How many answers were asked for. Default 1. */
  readonly choices?: number;
}

interface OpenAIUsageReaderOptions extends AskedOfOpenAI {
  /**
   * The proxy asked for the usage chunk and the client did not: the client must not get it. (The other chunks then carry
   * `"usage":null`, which every client ignores; they pass as they came.) Default false.
   */
  readonly dropUsageChunk?: boolean;
}

/**
 * OpenAI chat completions. The usage chunk (`choices: []`) comes last before `[DONE]`, if `stream_options.include_usage`
 * asked for it. `prompt_tokens` includes cached tokens and cache writes, `completion_tokens` includes reasoning.
 */
export class OpenAIUsageReader extends FrameUsageReader {
  readonly #dropUsageChunk: boolean;
  readonly #search: Search | undefined;
  readonly #choices: number;
  #usage: Readonly<Record<string, unknown>> | undefined;
  #hasFallen = false;
  #hasLastUsage = false;
  #serviceTier: unknown;
  #outputBytes = 0;
  /** Of each choice, where more than one was asked for. */
  readonly #bytesOfChoice = new Map<number, number>();
  /** Indexes of the choices that began, and of those that came to their end. */
  readonly #begun = new Set<number>();
  readonly #finished = new Set<number>();
  #responseId: string | undefined;
  #model: string | undefined;

  constructor(options: OpenAIUsageReaderOptions = {}) {
    super();
    this.#dropUsageChunk = options.dropUsageChunk ?? false;
    this.#search = options.search;
    this.#choices = Math.min(options.choices ?? 1, MOST_CHOICES);
  }

  reading(): UsageReading {
    const { report, isInputReported } = readOpenAIReport(this.#answer());
    const isWhole = this.#isWhole();
    const hasNoCount = isUncounted(this.#usage && completionTokens(totals(report)), this.#outputBytes);
    const isFinal = isWhole && isInputReported && !hasNoCount;
    const floor = estimateOutputTokens(this.#outputBytes + (isWhole ? 0 : this.#unseenBytes()));
    return {
      report: isFinal ? report : estimated(hasNoCount ? withUnknown(report, NO_OUTPUT) : report, floor),
      // Servers that count at the end only begin with zeros; no prompt has none.
      isInputReported: isInputReported && (isFinal || promptTokens(totals(report)) > 0),
      isFinal,
      hasOutput: this.#outputBytes > 0 || this.#finished.size > 0,
      isWhole,
      responseId: this.#responseId,
      model: this.#model,
    };
  }

  #answer(): OpenAIAnswer {
    return { model: this.#model, usage: this.#usage, serviceTier: this.#serviceTier, search: this.#search, hasFallen: this.#hasFallen };
  }

  /** Choices are made at the same time: one of which nothing came yet is taken to be as long as the longest that was seen. */
  #unseenBytes(): number {
    const longest = Math.max(0, ...this.#bytesOfChoice.values());
    return longest * Math.max(0, this.#choices - this.#bytesOfChoice.size);
  }

  /** Some compatible servers leave `[DONE]` out: then every choice has finished, and the usage that was asked for has come. */
  #isWhole(): boolean {
    if (this.terminal === "end") return true;
    // Usage that comes with content is counted on the way; then a choice that was asked for may not have begun.
    const hasAll = this.#hasLastUsage || this.#begun.size >= this.#choices;
    return this.#usage !== undefined && hasAll && this.#finished.size > 0 && [...this.#begun].every((index) => this.#finished.has(index));
  }

  protected inspect(frame: Buffer): FrameVerdict {
    const text = frameText(frame);
    if (isDone(text)) return this.end();
    const outputBytes = measureJsonStrings(text, DELTA_MARKERS);
    this.#outputBytes += outputBytes;
    const isWorthParsing =
      this.#choices > 1 ||
      this.#responseId === undefined ||
      hasObject(text, '"usage"') ||
      hasObject(text, '"error"') ||
      CHOICE_EDGE.test(text);
    const chunk = isWorthParsing ? parseFrameData(frame) : undefined;
    return chunk ? this.#read(chunk, outputBytes) : "pass";
  }

  #read(chunk: Readonly<Record<string, unknown>>, outputBytes: number): FrameVerdict {
    this.#responseId ??= textOf(chunk["id"]);
    this.#model ??= textOf(chunk["model"]);
    const error = objectOf(chunk["error"]);
    if (error) return this.fail({ type: textOf(error["type"]), message: textOf(error["message"]) });
    this.#readChoices(chunk["choices"], outputBytes);
    this.#serviceTier = chunk["service_tier"] ?? this.#serviceTier;
    const usage = objectOf(chunk["usage"]);
    if (!usage) return "pass";
    this.#takeUsage(usage);
    const isUsageChunk = Array.isArray(chunk["choices"]) && chunk["choices"].length === 0;
    this.#hasLastUsage ||= isUsageChunk;
    return this.#dropUsageChunk && isUsageChunk ? "drop" : "pass";
  }

  /** Counts grow on the way. Smaller ones after larger are not believed. */
  #takeUsage(usage: Readonly<Record<string, unknown>>): void {
    const before = this.#usage;
    if (before === undefined || !hasCounts(before)) {
      if (before === undefined || hasCounts(usage)) this.#usage = usage;
    } else if (hasCounts(usage)) {
      const isLess = countsOf(usage) < countsOf(before);
      this.#hasFallen ||= isLess;
      if (!isLess) this.#usage = usage;
    }
  }

  /** A chunk has one choice, as a rule; what several have in common is divided among them. */
  #readChoices(value: unknown, outputBytes: number): void {
    const choices = (Array.isArray(value) ? value.slice(0, MOST_CHOICES) : []).map(objectOf).filter((choice) => choice !== undefined);
    for (const choice of choices) {
      const index = choiceIndex(choice["index"]);
      this.#begun.add(index);
      if (outputBytes > 0) this.#bytesOfChoice.set(index, (this.#bytesOfChoice.get(index) ?? 0) + outputBytes / choices.length);
      if (textOf(choice["finish_reason"]) !== undefined) this.#finished.add(index);
    }
  }
}

/** Reads a whole answer. A body that is no JSON, or has no usage, is a reading that is not final. */
export function readOpenAIAnswer(body: Uint8Array, { search }: AskedOfOpenAI = {}): UsageReading {
  const completion = parseJsonObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"));
  const model = textOf(completion?.["model"]);
  const choices = completion?.["choices"];
  const messages = Array.isArray(choices) ? choices.map((choice) => objectOf(choice)?.["message"]) : [];
  const usage = objectOf(completion?.["usage"]);
  const { report, isInputReported } = readOpenAIReport({ model, usage, serviceTier: completion?.["service_tier"], search });
  const hasNoCount = isUncounted(usage && completionTokens(totals(report)), textLength(messages, "content"));
  return {
    report: hasNoCount ? withUnknown(report, NO_OUTPUT) : report,
    isInputReported,
    isFinal: isInputReported && !hasNoCount,
    hasOutput: Array.isArray(choices),
    isWhole: completion !== undefined,
    responseId: textOf(completion?.["id"]),
    model,
  };
}

function estimated(report: UsageReport, outputTokens: number): UsageReport {
  return withLastUsage(report, (usage) => ({ ...usage, outputTokens: Math.max(usage.outputTokens, outputTokens) }));
}

/** One of as many as there can be; whatever else a provider writes there is one more. */
function choiceIndex(value: unknown): number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MOST_CHOICES ? (value as number) : -1;
}

function hasCounts(usage: Readonly<Record<string, unknown>>): boolean {
  return isCount(usage["prompt_tokens"]) && isCount(usage["completion_tokens"]);
}

function countsOf(usage: Readonly<Record<string, unknown>>): number {
  return Number(usage["prompt_tokens"]) + Number(usage["completion_tokens"]);
}

function isDone(frame: FrameText): boolean {
  return /^data: ?\[DONE\]/m.test(frame);
}

/**
 * True if the key stands in the frame with an object as its value. Text of the model cannot fake it: quotes inside a JSON
 * string are escaped, so `"usage"` with plain quotes is always a key (or a whole value, which no object follows).
 */
function hasObject(frame: FrameText, quotedKey: string): boolean {
  for (let at = frame.indexOf(quotedKey); at >= 0; at = frame.indexOf(quotedKey, at + 1)) {
    if (/^\s*:\s*\{/.test(frame.slice(at + quotedKey.length, at + quotedKey.length + 8))) return true;
  }
  return false;
}

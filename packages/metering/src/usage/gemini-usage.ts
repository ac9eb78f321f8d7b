import type { FrameVerdict } from "./frame-relay.ts";
import { FrameUsageReader } from "./frame-usage-reader.ts";
import { geminiTokens, readGeminiReport } from "./gemini-report.ts";
import { estimateOutputTokens, objectOf, parseFrameData, parseJsonObject, textOf } from "./sse-data.ts";
import { isUncounted, NO_OUTPUT } from "./usage-fields.ts";
import type { UsageReading } from "./usage-reader.ts";
import { totals, withLastUsage, withUnknown } from "./usage-report.ts";
import { completionTokens, promptTokens } from "./usage.ts";

type Json = Readonly<Record<string, unknown>>;

/** More candidates than any model makes. */
const MOST_CANDIDATES = 128;

/** What a request says that its answer's end depends on. */
interface AskedOfGemini {
  /** How many candidates were asked for. Default 1. */
  readonly choices?: number;
}

/**
 * Gemini's `streamGenerateContent` as events. Each chunk has the counts so far in `usageMetadata`; they grow, and the last ones are billed. No event ends
 * the stream: it is whole where each candidate has a `finishReason`, or where the prompt was blocked; without that it is unfinished.
 */
export class GeminiUsageReader extends FrameUsageReader {
  readonly #choices: number;
  #usage: Json | undefined;
  #hasFallen = false;
  /** No text came behind the last counts. */
  #isUsageLast = false;
  #isGrounded = false;
  #isBlocked = false;
  #outputBytes = 0;
  readonly #begun = new Set<number>();
  readonly #finished = new Set<number>();
  #responseId: string | undefined;
  #model: string | undefined;

  constructor({ choices = 1 }: AskedOfGemini = {}) {
    super();
    this.#choices = Math.min(choices, MOST_CANDIDATES);
  }

  reading(): UsageReading {
    const { report, isInputReported } = readGeminiReport({
      model: this.#model,
      usage: this.#usage,
      hasFallen: this.#hasFallen,
      isGrounded: this.#isGrounded,
    });
    const isWhole = this.#isWhole();
    const hasNoCount = isInputReported && isUncounted(completionTokens(totals(report)), this.#outputBytes);
    const isFinal = isWhole && isInputReported && this.#isUsageLast && !hasNoCount;
    const counted = hasNoCount ? withUnknown(report, NO_OUTPUT) : report;
    const floor = estimateOutputTokens(this.#outputBytes);
    return {
      report: isFinal ? counted : withLastUsage(counted, (usage) => ({ ...usage, outputTokens: Math.max(usage.outputTokens, floor) })),
      // Servers that count at the end only begin with zeros; no prompt has none.
      isInputReported: isInputReported && (isFinal || promptTokens(totals(report)) > 0),
      isFinal,
      hasOutput: this.#outputBytes > 0 || this.#finished.size > 0 || this.#isBlocked,
      isWhole,
      responseId: this.#responseId,
      model: this.#model,
    };
  }

  #isWhole(): boolean {
    if (this.terminal !== undefined) return false;
    if (this.#isBlocked && this.#begun.size === 0) return true;
    return this.#finished.size > 0 && this.#begun.size >= this.#choices && [...this.#begun].every((index) => this.#finished.has(index));
  }

  protected inspect(frame: Buffer): FrameVerdict {
    const chunk = parseFrameData(frame);
    if (!chunk) return "pass";
    const error = objectOf(chunk["error"]);
    if (error) return this.fail({ type: textOf(error["status"]), message: textOf(error["message"]) });
    this.#responseId ??= textOf(chunk["responseId"]);
    this.#model ??= modelOf(chunk);
    this.#isBlocked ||= isBlocked(chunk);
    const bytes = this.#readCandidates(chunk["candidates"]);
    this.#outputBytes += bytes;
    if (bytes > 0) this.#isUsageLast = false;
    const usage = objectOf(chunk["usageMetadata"]);
    if (usage) this.#takeUsage(usage);
    return "pass";
  }

  /** Smaller counts after larger are not believed. */
  #takeUsage(usage: Json): void {
    this.#isUsageLast = true;
    const isLess = this.#usage !== undefined && geminiTokens(usage) < geminiTokens(this.#usage);
    this.#hasFallen ||= isLess;
    if (!isLess) this.#usage = usage;
  }

  /** Returns how many characters they have. */
  #readCandidates(value: unknown): number {
    const candidates = candidatesOf(value);
    for (const [place, candidate] of candidates.entries()) {
      const index = candidateIndex(candidate["index"] ?? place);
      this.#begun.add(index);
      if (textOf(candidate["finishReason"]) !== undefined) this.#finished.add(index);
      this.#isGrounded ||= isGrounded(candidate);
    }
    return candidates.reduce((sum, candidate) => sum + outputLength(candidate), 0);
  }
}

/** Reads a whole answer. A body that is no JSON, or has no usage, is a reading that is not final. */
export function readGeminiAnswer(body: Uint8Array): UsageReading {
  const answer = parseJsonObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"));
  const model = answer && modelOf(answer);
  const candidates = candidatesOf(answer?.["candidates"]);
  const { report, isInputReported } = readGeminiReport({
    model,
    usage: objectOf(answer?.["usageMetadata"]),
    isGrounded: candidates.some(isGrounded),
  });
  const bytes = candidates.reduce((sum, candidate) => sum + outputLength(candidate), 0);
  const hasNoCount = isInputReported && isUncounted(completionTokens(totals(report)), bytes);
  return {
    report: hasNoCount ? withUnknown(report, NO_OUTPUT) : report,
    isInputReported,
    isFinal: isInputReported && !hasNoCount,
    hasOutput: candidates.length > 0 || (answer !== undefined && isBlocked(answer)),
    isWhole: answer !== undefined,
    responseId: textOf(answer?.["responseId"]),
    model,
  };
}

/** The name without the collection that it may stand in. */
function modelOf(answer: Json): string | undefined {
  return textOf(textOf(answer["modelVersion"])?.replace(/^models\//, ""));
}

function isBlocked(answer: Json): boolean {
  return textOf(objectOf(answer["promptFeedback"])?.["blockReason"]) !== undefined;
}

/** Whether the provider searched, and did not only say that it could have. */
function isGrounded(candidate: Json): boolean {
  const grounding = objectOf(candidate["groundingMetadata"]);
  return grounding !== undefined && Object.keys(grounding).length > 0;
}

function candidatesOf(value: unknown): readonly Json[] {
  const list = Array.isArray(value) ? value.slice(0, MOST_CANDIDATES) : [];
  return list.map(objectOf).filter((candidate) => candidate !== undefined);
}

function candidateIndex(value: unknown): number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MOST_CANDIDATES ? (value as number) : -1;
}

/** Characters that the model wrote in a candidate: text, thoughts, code, and what it calls a tool with. */
function outputLength(candidate: Json): number {
  const parts = objectOf(candidate["content"])?.["parts"];
  return Array.isArray(parts) ? parts.reduce<number>((sum, part) => sum + partLength(objectOf(part) ?? {}), 0) : 0;
}

function partLength(part: Json): number {
  const code = textOf(objectOf(part["executableCode"])?.["code"])?.length ?? 0;
  return (textOf(part["text"])?.length ?? 0) + code + stringLength(objectOf(part["functionCall"]), 16);
}

/** Characters of all strings in a value, and of the names in it; what nests deeper counts nothing. */
function stringLength(value: unknown, mostDepth: number): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null || mostDepth === 0) return 0;
  return Object.entries(value).reduce((sum, [name, item]) => sum + name.length + stringLength(item, mostDepth - 1), 0);
}

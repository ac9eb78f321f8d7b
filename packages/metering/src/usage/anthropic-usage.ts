import { type AnthropicAnswer, readAnthropicReport } from "./anthropic-report.ts";
import type { FrameVerdict } from "./frame-relay.ts";
import { FrameUsageReader } from "./frame-usage-reader.ts";
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
import { totals, type UsagePart, type UsageReport, withLastUsage, withUnknown } from "./usage-report.ts";
import { NO_USAGE, promptTokens } from "./usage.ts";

const DELTA_MARKERS = ['"text":"', '"partial_json":"', '"thinking":"', '"text": "', '"partial_json": "', '"thinking": "'];

/** A block in which the provider searches; text of the model cannot look like it, because its quotes are escaped. */
const WEB_SEARCH = /"content_block": ?\{(?=[^{}]*"type": ?"server_tool_use")[^{}]*"name": ?"web_search"/;

/** A block with what a tool of the provider brought in: the model goes on, over all that it had and this. */
const TOOL_RESULT = /"content_block": ?\{[^{}[\]]*"type": ?"\w+_tool_result"/;

/** More than any loop of a provider; passes beyond it are not estimated apart. */
const MOST_PASSES = 100;

/**
 * Anthropic Messages. Input counts come with `message_start`, cumulative counts of everything with `message_delta`, which
 * replace them. `input_tokens` excludes cached tokens. Where a cache write is not split by lifetime, it is all 5 minutes.
 */
export class AnthropicUsageReader extends FrameUsageReader {
  #usage: Readonly<Record<string, unknown>> | undefined;
  #hasCounted = false;
  #hasFallen = false;
  #stopReason: string | undefined;
  #hasContent = false;
  /** Counts of the whole answer have come: they are not, where content follows them. */
  #isFinal = false;
  #outputBytes = 0;
  #hasOutput = false;
  /** Searches that were seen to begin; their count comes at the end only. */
  #webSearches = 0;
  /** Bytes of the results that each pass of the provider's own tools brought in, of those passes that no count holds yet. */
  #resultBytes: number[] = [];
  #isInResults = false;
  /** The provider's own running estimate of thinking that it does not show; sent where the client asked for the beta of it. */
  #thinkingTokens = 0;
  #responseId: string | undefined;
  #model: string | undefined;

  reading(): UsageReading {
    const read = readAnthropicReport(this.#answer());
    const floor = this.#thinkingTokens + estimateOutputTokens(this.#outputBytes);
    const hasNoCount = this.#isFinal && isUncounted(this.#usage?.["output_tokens"], this.#outputBytes);
    const isFinal = this.#isFinal && !hasNoCount;
    const report = hasNoCount ? withUnknown(read.report, NO_OUTPUT) : read.report;
    return {
      report: isFinal ? report : this.#soFar(report, floor),
      // Servers that count at the end only begin with zeros; no prompt has none.
      isInputReported: read.isInputReported && (isFinal || promptTokens(totals(read.report)) > 0),
      isFinal,
      hasOutput: this.#hasOutput || this.#isFinal,
      ...(this.#thinkingTokens > 0 && { countsThinking: true }),
      ...(!this.#isFinal && this.#resultBytes.length > 0 && { laterPasses: this.#laterPasses(read.report) }),
      isWhole: this.terminal === "end",
      responseId: this.#responseId,
      model: this.#model,
    };
  }

  #soFar(report: UsageReport, floor: number): UsageReport {
    const webSearch = Math.max(report.uses.webSearch ?? 0, this.#webSearches);
    const uses = webSearch > 0 ? { ...report.uses, webSearch } : report.uses;
    return withLastUsage({ ...report, uses }, (usage) => ({ ...usage, outputTokens: Math.max(usage.outputTokens, floor) }));
  }

  /** Each pass reads once more what the first did, what that read or wrote of a cache from there, and the results so far. */
  #laterPasses(report: UsageReport): readonly UsagePart[] {
    const first = report.parts.at(-1);
    if (!first) return [];
    let { inputTokens } = first.usage;
    const cacheReadTokens = promptTokens(first.usage) - inputTokens;
    return this.#resultBytes.map((bytes) => {
      inputTokens += estimateOutputTokens(bytes);
      return { ...first, usage: { ...NO_USAGE, inputTokens, cacheReadTokens } };
    });
  }

  /** Results of tools that were called together come together, and lead to one pass. */
  #countPass(text: FrameText): void {
    const isResult = TOOL_RESULT.test(text);
    if (isResult && !this.#isInResults && this.#resultBytes.length < MOST_PASSES) this.#resultBytes.push(0);
    if (isResult) this.#resultBytes[this.#resultBytes.length - 1] = (this.#resultBytes.at(-1) ?? 0) + text.length;
    this.#isInResults = isResult;
  }

  #answer(): AnthropicAnswer {
    return {
      model: this.#model,
      usage: this.#usage,
      stopReason: this.#stopReason,
      hasContent: this.#hasContent,
      hasFallen: this.#hasFallen,
    };
  }

  protected inspect(frame: Buffer): FrameVerdict {
    const text = frameText(frame);
    switch (eventType(text, frame)) {
      case "content_block_start":
        this.#hasContent = true;
        this.#isFinal = false;
        if (WEB_SEARCH.test(text)) this.#webSearches += 1;
        this.#countPass(text);
        // A block of text or of thought is empty yet; a tool that the provider runs has run.
        this.#hasOutput ||= !/"content_block": ?\{"type": ?"(text|thinking)"/.test(text);
        return "pass";
      case "content_block_delta":
        this.#hasOutput = true;
        this.#isFinal = false;
        this.#outputBytes += measureJsonStrings(text, DELTA_MARKERS);
        if (text.includes('"estimated_tokens"')) this.#thinkingTokens += Number(/"estimated_tokens": ?(\d{1,6})\b/.exec(text)?.[1] ?? 0);
        return "pass";
      case "message_start":
        this.#start(objectOf(parseFrameData(frame)?.["message"]));
        return "pass";
      case "message_delta":
        this.#update(parseFrameData(frame));
        return "pass";
      case "message_stop":
        return this.end();
      case "error": {
        const error = objectOf(parseFrameData(frame)?.["error"]);
        return this.fail({ type: textOf(error?.["type"]), message: textOf(error?.["message"]) });
      }
      default:
        return "pass";
    }
  }

  #start(message: Readonly<Record<string, unknown>> | undefined): void {
    this.#responseId = textOf(message?.["id"]);
    this.#model = textOf(message?.["model"]);
    this.#usage = objectOf(message?.["usage"]) ?? this.#usage;
  }

  /** Counts of a delta are cumulative: they replace those before. What it does not repeat (tier, geography, split) stays. */
  #update(event: Readonly<Record<string, unknown>> | undefined): void {
    this.#stopReason = textOf(objectOf(event?.["delta"])?.["stop_reason"]) ?? this.#stopReason;
    const usage = objectOf(event?.["usage"]);
    if (!usage) return;
    // The output that a stream begins with stands in for a count.
    const before = this.#hasCounted ? (this.#usage ?? {}) : { ...this.#usage, output_tokens: undefined };
    this.#hasCounted ||= isCount(usage["output_tokens"]);
    const merged = { ...this.#usage, ...Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== null)) };
    const kept = Array.isArray(merged["iterations"]) ? {} : fallenCounts(before, merged);
    this.#hasFallen ||= Object.keys(kept).length > 0;
    this.#usage = { ...merged, ...kept };
    this.#isFinal = isCount(this.#usage["input_tokens"]) && isCount(usage["output_tokens"]);
    // Counts are cumulative: they hold every pass before them.
    if (isCount(usage["input_tokens"])) this.#resultBytes = [];
  }
}

/** Reads a whole answer. A body that is no JSON, or has no usage, is a reading that is not final. */
export function readAnthropicAnswer(body: Uint8Array): UsageReading {
  const message = parseJsonObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"));
  const content = message?.["content"];
  const model = textOf(message?.["model"]);
  const usage = objectOf(message?.["usage"]);
  const hasNoCount = isUncounted(usage?.["output_tokens"], textLength(Array.isArray(content) ? content : [], "text"));
  const { report, isInputReported, isOutputReported } = readAnthropicReport({
    model,
    usage,
    stopReason: textOf(message?.["stop_reason"]),
    hasContent: Array.isArray(content) && content.length > 0,
  });
  return {
    report: hasNoCount ? withUnknown(report, NO_OUTPUT) : report,
    isInputReported,
    isFinal: isInputReported && isOutputReported && !hasNoCount,
    hasOutput: Array.isArray(content),
    isWhole: message !== undefined,
    responseId: textOf(message?.["id"]),
    model,
  };
}

const INPUT_COUNTS = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

/** Of counts that became smaller the earlier: of the input all, where it is less in sum, because tokens may move between its classes. */
function fallenCounts(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const input = (usage: Readonly<Record<string, unknown>>): number => INPUT_COUNTS.reduce((sum, name) => sum + countIn(usage, name), 0);
  const kept = input(after) < input(before) ? [...INPUT_COUNTS, "cache_creation"] : [];
  const names = countIn(after, "output_tokens") < countIn(before, "output_tokens") ? [...kept, "output_tokens"] : kept;
  return Object.fromEntries(names.map((name) => [name, before[name]]));
}

function countIn(usage: Readonly<Record<string, unknown>>, name: string): number {
  return isCount(usage[name]) ? usage[name] : 0;
}

const EVENT_TYPES: ReadonlySet<string> = new Set([
  ...["message_start", "content_block_start", "content_block_delta", "content_block_stop"],
  ...["message_delta", "message_stop", "ping", "error"],
]);

/**
 * The event line comes first; a comment or the data before it is legal and rare. Compatible servers leave the line out, or
 * write `message` there: the data says the same under `type`, mostly as its first field.
 */
function eventType(text: FrameText, frame: Buffer): string | undefined {
  const line = /^event: ?(\w+)/m.exec(text)?.[1];
  if (line !== undefined && EVENT_TYPES.has(line)) return line;
  return /^data: ?\{ ?"type": ?"(\w+)"/.exec(text)?.[1] ?? textOf(parseFrameData(frame)?.["type"]);
}

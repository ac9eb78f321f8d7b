import { FrameRelay, type FrameVerdict } from "./frame-relay.ts";
import { estimateOutputTokens, type FrameText, frameText, measureJsonString, objectOf, parseFrameData, parseJsonObject, textOf, tokenCount } from "./sse-data.ts";
import { reportOf } from "./usage-report.ts";
import type { ProviderStreamError, StreamUsageReader, UsageReading } from "./usage-reader.ts";
import { NO_USAGE, type Usage } from "./usage.ts";

const DELTA_MARKERS = ['"text":"', '"partial_json":"', '"thinking":"', '"text": "', '"partial_json": "', '"thinking": "'];

/**
 * Anthropic Messages. Input counts come with `message_start`, cumulative counts of everything with `message_delta`, which
 * replace them. `input_tokens` excludes cached tokens. Where a cache write is not split by lifetime, it is all 5 minutes.
 */
export class AnthropicUsageReader implements StreamUsageReader {
  readonly #relay = new FrameRelay((frame) => this.#inspect(frame));
  #usage: Usage = NO_USAGE;
  #isInputReported = false;
  #isFinal = false;
  #outputBytes = 0;
  #hasOutput = false;
  /** The provider's own running estimate of thinking that it does not show; sent where the client asked for the beta of it. */
  #thinkingTokens = 0;
  #responseId: string | undefined;
  #model: string | undefined;
  #terminal: "end" | "error" | undefined;
  #error: ProviderStreamError | undefined;

  get terminal(): "end" | "error" | undefined {
    return this.#terminal;
  }

  get error(): ProviderStreamError | undefined {
    return this.#error;
  }

  push(chunk: Uint8Array): readonly Uint8Array[] {
    return this.#relay.push(chunk);
  }

  takeRest(): Uint8Array {
    return this.#relay.takeRest();
  }

  reading(): UsageReading {
    const outputTokens = this.#isFinal ? this.#usage.outputTokens : Math.max(this.#usage.outputTokens, this.#thinkingTokens + estimateOutputTokens(this.#outputBytes));
    return {
      report: reportOf({ ...this.#usage, outputTokens }),
      isInputReported: this.#isInputReported,
      isFinal: this.#isFinal,
      hasOutput: this.#hasOutput || this.#isFinal,
      isWhole: this.#terminal === "end",
      responseId: this.#responseId,
      model: this.#model,
    };
  }

  #inspect(frame: Buffer): FrameVerdict {
    const text = frameText(frame);
    switch (eventType(text)) {
      case "content_block_delta":
        this.#hasOutput = true;
        this.#outputBytes += measureJsonString(text, DELTA_MARKERS);
        this.#thinkingTokens += Number(/"estimated_tokens": ?(\d{1,6})\b/.exec(text)?.[1] ?? 0);
        return "pass";
      case "message_start":
        this.#start(objectOf(parseFrameData(frame)?.["message"]));
        return "pass";
      case "message_delta":
        this.#update(objectOf(parseFrameData(frame)?.["usage"]));
        return "pass";
      case "message_stop":
        this.#terminal = "end";
        return "hold";
      case "error":
        this.#fail(objectOf(parseFrameData(frame)?.["error"]));
        return "hold";
      default:
        return "pass";
    }
  }

  #start(message: Readonly<Record<string, unknown>> | undefined): void {
    const usage = objectOf(message?.["usage"]);
    this.#responseId = textOf(message?.["id"]);
    this.#model = textOf(message?.["model"]);
    if (!usage) return;
    this.#usage = readAnthropicUsage(usage, this.#usage);
    this.#isInputReported = tokenCount(usage["input_tokens"]) !== undefined;
  }

  #update(usage: Readonly<Record<string, unknown>> | undefined): void {
    if (!usage) return;
    this.#usage = readAnthropicUsage(usage, this.#usage);
    this.#isInputReported ||= tokenCount(usage["input_tokens"]) !== undefined;
    this.#isFinal = this.#isInputReported && tokenCount(usage["output_tokens"]) !== undefined;
  }

  #fail(error: Readonly<Record<string, unknown>> | undefined): void {
    this.#terminal = "error";
    this.#error = { type: textOf(error?.["type"]), message: textOf(error?.["message"]) };
  }
}

/** Reads a whole answer. A body that is no JSON, or has no usage, is a reading that is not final. */
export function readAnthropicAnswer(body: Uint8Array): UsageReading {
  const message = parseJsonObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"));
  const usage = objectOf(message?.["usage"]);
  const isInputReported = tokenCount(usage?.["input_tokens"]) !== undefined;
  return {
    report: reportOf(usage ? readAnthropicUsage(usage, NO_USAGE) : NO_USAGE),
    isInputReported,
    isFinal: isInputReported && tokenCount(usage?.["output_tokens"]) !== undefined,
    hasOutput: Array.isArray(message?.["content"]),
    isWhole: message !== undefined,
    responseId: textOf(message?.["id"]),
    model: textOf(message?.["model"]),
  };
}

/** Brings a `usage` object into our classes; what it does not say stays as it was. */
function readAnthropicUsage(wire: Readonly<Record<string, unknown>>, before: Usage): Usage {
  const details = objectOf(wire["output_tokens_details"]);
  return {
    ...NO_USAGE,
    inputTokens: tokenCount(wire["input_tokens"]) ?? before.inputTokens,
    cacheReadTokens: tokenCount(wire["cache_read_input_tokens"]) ?? before.cacheReadTokens,
    ...splitCacheWrites(wire, before),
    outputTokens: tokenCount(wire["output_tokens"]) ?? before.outputTokens,
    reasoningTokens: tokenCount(details?.["thinking_tokens"]) ?? before.reasoningTokens,
  };
}

/** `message_delta` repeats the total without the split: the split that `message_start` gave is kept as far as it fits. */
function splitCacheWrites(wire: Readonly<Record<string, unknown>>, before: Usage): Pick<Usage, "cacheWrite5mTokens" | "cacheWrite1hTokens"> {
  const split = objectOf(wire["cache_creation"]);
  const known1h = tokenCount(split?.["ephemeral_1h_input_tokens"]) ?? before.cacheWrite1hTokens;
  const known5m = tokenCount(split?.["ephemeral_5m_input_tokens"]) ?? before.cacheWrite5mTokens;
  const total = tokenCount(wire["cache_creation_input_tokens"]) ?? known1h + known5m;
  const cacheWrite1hTokens = Math.min(known1h, total);
  return { cacheWrite1hTokens, cacheWrite5mTokens: total - cacheWrite1hTokens };
}

/** The event line comes first; a comment or the data before it is legal and rare. */
function eventType(frame: FrameText): string | undefined {
  return /^event: ?(\w+)/m.exec(frame)?.[1];
}

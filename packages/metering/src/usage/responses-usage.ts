import type { FrameVerdict } from "./frame-relay.ts";
import { FrameUsageReader } from "./frame-usage-reader.ts";
import { countItems, ItemCounter, largerItems } from "./responses-items.ts";
import { readResponsesReport } from "./responses-report.ts";
import {
  estimateOutputTokens,
  frameText,
  measureJsonStrings,
  objectOf,
  parseFrameData,
  parseJsonObject,
  textLength,
  textOf,
} from "./sse-data.ts";
import { isUncounted, NO_OUTPUT } from "./usage-fields.ts";
import type { UsageReading } from "./usage-reader.ts";
import { totals, withLastUsage, withUnknown } from "./usage-report.ts";
import { completionTokens, promptTokens } from "./usage.ts";

type Json = Readonly<Record<string, unknown>>;

/**
 * A frame that carries a piece of text, told by its beginning: whatever stands in a caller's tools, which other events repeat,
 * does not look like it. A server that writes its fields in another order has each frame parsed.
 */
const DELTA = /^(?:event: ?[\w.]+\r?\n)?data: ?\{ ?"type": ?"response\.\w+(?:\.\w+)*\.delta"/;
const DELTA_MARKERS = ['"delta":"', '"delta": "'];

/** The events that end an answer, and that hold all of it. */
const ENDINGS = ["response.completed", "response.incomplete", "response.failed"];

/**
 * OpenAI Responses. The usage comes with the event that ends the answer (`response.completed`, `response.incomplete`,
 * `response.failed`); `input_tokens` includes cached tokens, `output_tokens` reasoning. Uses of the provider's tools are counted by
 * the items of the output, as they are done and in the end. A stream without an end is unfinished.
 */
export class ResponsesUsageReader extends FrameUsageReader {
  readonly #done = new ItemCounter();
  /** The last state of the answer that came with its counts, or the last one that came. */
  #response: Json | undefined;
  #deltaBytes = 0;
  /** Text of the items that are done: of servers that send no pieces of it. */
  #itemBytes = 0;
  #hasItems = false;
  #responseId: string | undefined;
  #model: string | undefined;

  reading(): UsageReading {
    const response = this.#response;
    const { report, isInputReported } = readResponsesReport({
      model: textOf(response?.["model"]) ?? this.#model,
      usage: objectOf(response?.["usage"]),
      serviceTier: response?.["service_tier"],
      items: largerItems(this.#done.counts(), countItems(response?.["output"])),
    });
    const textBytes = Math.max(this.#deltaBytes, this.#itemBytes);
    const hasNoCount = isInputReported && isUncounted(completionTokens(totals(report)), textBytes);
    // A failed answer is over as well, and its counts are the provider's last ones.
    const isFinal = this.terminal !== undefined && isInputReported && !hasNoCount;
    const counted = hasNoCount ? withUnknown(report, NO_OUTPUT) : report;
    const floor = estimateOutputTokens(textBytes);
    return {
      report: isFinal ? counted : withLastUsage(counted, (usage) => ({ ...usage, outputTokens: Math.max(usage.outputTokens, floor) })),
      // Servers that count at the end only begin with zeros; no prompt has none.
      isInputReported: isInputReported && (isFinal || promptTokens(totals(report)) > 0),
      isFinal,
      hasOutput: textBytes > 0 || this.#hasItems || isFinal,
      isWhole: this.terminal === "end",
      responseId: this.#responseId,
      model: this.#model,
    };
  }

  protected inspect(frame: Buffer): FrameVerdict {
    const text = frameText(frame);
    if (DELTA.test(text)) {
      this.#deltaBytes += measureJsonStrings(text, DELTA_MARKERS);
      return "pass";
    }
    const event = parseFrameData(frame);
    return event ? this.#read(event) : "pass";
  }

  #read(event: Json): FrameVerdict {
    const type = textOf(event["type"]) ?? "";
    const error = objectOf(event["error"]);
    // Some compatible servers tell an error as in a chat.
    if (type === "error" || (type === "" && error)) return this.#failBy(error ?? event);
    if (type.endsWith(".delta")) this.#deltaBytes += textOf(event["delta"])?.length ?? 0;
    if (type === "response.output_item.done") this.#takeItem(event["item"]);
    const response = objectOf(event["response"]);
    if (response) this.#takeResponse(response);
    if (type === "response.failed") return this.#failBy(objectOf(response?.["error"]) ?? {});
    if (!ENDINGS.includes(type)) return "pass";
    return this.end();
  }

  #failBy(error: Json): FrameVerdict {
    return this.fail({ type: textOf(error["code"]) ?? textOf(error["type"]), message: textOf(error["message"]) });
  }

  #takeItem(value: unknown): void {
    this.#done.take(value);
    this.#hasItems = true;
    this.#itemBytes += textLengthOf(value);
  }

  /** Counts, once given, are not taken back by a state without them. */
  #takeResponse(response: Json): void {
    this.#responseId ??= textOf(response["id"]);
    this.#model ??= textOf(response["model"]);
    if (objectOf(response["usage"]) || !objectOf(this.#response?.["usage"])) this.#response = response;
  }
}

/** Reads a whole answer. A body that is no JSON, or has no usage, is a reading that is not final. */
export function readResponsesAnswer(body: Uint8Array): UsageReading {
  const response = parseJsonObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"));
  const model = textOf(response?.["model"]);
  const output = response?.["output"];
  const items = Array.isArray(output) ? output : [];
  const { report, isInputReported } = readResponsesReport({
    model,
    usage: objectOf(response?.["usage"]),
    serviceTier: response?.["service_tier"],
    items: countItems(items),
  });
  const textBytes = items.reduce<number>((sum, item) => sum + textLengthOf(item), 0);
  const hasNoCount = isInputReported && isUncounted(completionTokens(totals(report)), textBytes);
  return {
    report: hasNoCount ? withUnknown(report, NO_OUTPUT) : report,
    isInputReported,
    isFinal: isInputReported && !hasNoCount,
    hasOutput: items.length > 0,
    isWhole: response !== undefined,
    responseId: textOf(response?.["id"]),
    model,
  };
}

/** Characters that the model wrote in an item: its text, what it calls a tool with, a summary of its reasoning. */
function textLengthOf(value: unknown): number {
  const item = objectOf(value);
  if (!item) return 0;
  const lists = [item["content"], item["summary"]].flatMap((list) => (Array.isArray(list) ? [list as readonly unknown[]] : []));
  const own = ["arguments", "input", "code"].reduce((sum, name) => sum + (textOf(item[name])?.length ?? 0), 0);
  return own + lists.reduce((sum, list) => sum + textLength(list, "text") + textLength(list, "refusal"), 0);
}

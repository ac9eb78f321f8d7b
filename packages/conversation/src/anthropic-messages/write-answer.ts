import { type AnswerEvent, type AnswerUsage, type Citation, type Finish, wholeInput } from "../answer.ts";
import type { AnswerContext, AnswerWriter } from "../codec.ts";
import { FREEFORM_FIELD, type JsonObject, parseObject } from "../json.ts";
import { sealSignature } from "../signatures.ts";
import { eventFrame } from "../sse.ts";
import { writeErrorBody } from "./errors.ts";
import { ANTHROPIC_MESSAGES } from "./name.ts";

const STOP_REASONS: Readonly<Record<Finish["reason"], string>> = {
  end: "end_turn",
  length: "max_tokens",
  context: "model_context_window_exceeded",
  stop: "stop_sequence",
  tool_calls: "tool_use",
  refusal: "refusal",
  pause: "pause_turn",
};

/** The usage as Anthropic says it: cached input stands apart. */
function writeUsage(usage: AnswerUsage): JsonObject {
  const { cacheWrite5mTokens, cacheWrite1hTokens, reasoningTokens } = usage;
  return {
    input_tokens: usage.inputTokens,
    cache_creation_input_tokens: cacheWrite5mTokens + cacheWrite1hTokens,
    cache_read_input_tokens: usage.cacheReadTokens,
    cache_creation: { ephemeral_5m_input_tokens: cacheWrite5mTokens, ephemeral_1h_input_tokens: cacheWrite1hTokens },
    output_tokens: usage.outputTokens,
    ...(reasoningTokens > 0 && { output_tokens_details: { thinking_tokens: reasoningTokens } }),
    service_tier: "standard",
  };
}

function messageShell({ id, model }: { readonly id: string; readonly model: string }): JsonObject {
  return { id, type: "message", role: "assistant", model, content: [], stop_reason: null, stop_sequence: null };
}

function writeCitation({ url, title, text }: Citation): JsonObject {
  return { type: "web_search_result_location", url, title: title ?? null, cited_text: text ?? "", encrypted_index: "" };
}

function stopOf(finish: Finish | undefined): JsonObject {
  const { reason, stopSequence } = finish ?? { reason: "end" as const };
  // A dialect that does not say which sequence it was cannot say that it was one.
  const isNamed = reason !== "stop" || stopSequence !== undefined;
  return { stop_reason: STOP_REASONS[isNamed ? reason : "end"], stop_sequence: stopSequence ?? null };
}

/** A whole answer. */
export function writeAnswer(events: readonly AnswerEvent[], context: AnswerContext): JsonObject {
  const content: Record<string, unknown>[] = [];
  let { id, model } = context;
  let finish: Finish | undefined;
  let [text, isFreeform] = ["", false];
  for (const event of events) {
    const block = content.at(-1) ?? {};
    if (event.kind === "start") [id, model] = [event.id ?? id, event.model ?? model];
    else if (event.kind === "open") {
      [text, isFreeform] = ["", event.part.kind === "toolCall" && (event.part.isFreeform ?? false)];
      content.push(openBlock(event));
    } else if (event.kind === "delta") text += event.text;
    else if (event.kind === "signature")
      block[block["type"] === "redacted_thinking" ? "data" : "signature"] = sealSignature(event.signature, ANTHROPIC_MESSAGES);
    else if (event.kind === "citation")
      block["citations"] = [...((block["citations"] as unknown[] | null) ?? []), writeCitation(event.citation)];
    else if (event.kind === "close") fillBlock(block, text, isFreeform);
    else if (event.kind === "finish") finish = event.finish;
  }
  return { ...messageShell({ id, model }), content, ...stopOf(finish), usage: writeUsage(context.usage()) };
}

function openBlock({ part }: AnswerEvent & { kind: "open" }): Record<string, unknown> {
  switch (part.kind) {
    case "thinking":
      return part.isRedacted ? { type: "redacted_thinking", data: "" } : { type: "thinking", thinking: "", signature: "" };
    case "toolCall":
      return { type: "tool_use", id: part.id, name: part.name, input: {} };
    default:
      return { type: "text", text: "" };
  }
}

/** Arguments that are no object stand in the field of free-form tools, so that no answer is lost over them. */
function fillBlock(block: Record<string, unknown>, text: string, isFreeform: boolean): void {
  if (block["type"] === "thinking") block["thinking"] = text;
  else if (block["type"] === "text") block["text"] = text;
  else if (block["type"] === "tool_use" && text.trim() !== "")
    block["input"] = (isFreeform ? undefined : parseObject(text)) ?? { [FREEFORM_FIELD]: text };
}

/** Frames of a stream of Anthropic Messages: blocks one after the other, and the end with the whole usage. */
export class MessagesStreamWriter implements AnswerWriter {
  readonly #context: AnswerContext;
  #hasBegun = false;
  #index = 0;
  /** The block of {@link #index} has begun. */
  #isStarted = false;
  #type: "text" | "thinking" | "redacted_thinking" | "tool_use" | undefined;
  #isFreeform = false;
  #finish: Finish | undefined;

  constructor(context: AnswerContext) {
    this.#context = context;
  }

  write(event: AnswerEvent): string {
    switch (event.kind) {
      case "start":
        return this.#begin(event.id, event.model);
      case "open":
        return this.#begin() + this.#open(event);
      case "delta":
        return this.#delta(this.#deltaOf(event.text));
      case "signature":
        if (this.#type === "redacted_thinking" && !this.#isStarted)
          return this.#startBlock({ type: "redacted_thinking", data: sealSignature(event.signature, ANTHROPIC_MESSAGES) });
        return this.#delta({ type: "signature_delta", signature: sealSignature(event.signature, ANTHROPIC_MESSAGES) });
      case "citation":
        return this.#delta({ type: "citations_delta", citation: writeCitation(event.citation) });
      case "close":
        return (this.#isFreeform ? this.#delta({ type: "input_json_delta", partial_json: '"}' }) : "") + this.#stopBlock();
      case "finish":
        this.#finish = event.finish;
        return "";
      case "error":
        return eventFrame("error", writeErrorBody(event.error, this.#context.id).body);
    }
  }

  end(): string {
    const usage = writeUsage(this.#context.usage());
    const { cache_creation: _creation, service_tier: _tier, ...cumulative } = usage;
    const delta = eventFrame("message_delta", { type: "message_delta", delta: stopOf(this.#finish), usage: cumulative });
    return this.#begin() + delta + eventFrame("message_stop", { type: "message_stop" });
  }

  #begin(id = this.#context.id, model = this.#context.model): string {
    if (this.#hasBegun) return "";
    this.#hasBegun = true;
    // What it wrote so far is said at the end.
    const usage = { ...this.#context.usage(), outputTokens: 0, reasoningTokens: 0 };
    const message = { ...messageShell({ id, model }), usage: { ...writeUsage(usage), output_tokens: wholeInput(usage) > 0 ? 1 : 0 } };
    return eventFrame("message_start", { type: "message_start", message });
  }

  #open({ part }: AnswerEvent & { kind: "open" }): string {
    // What is hidden comes whole with its block; where nothing comes, there is none.
    if (this.#isStarted) this.#index += 1;
    this.#isStarted = false;
    this.#isFreeform = part.kind === "toolCall" && (part.isFreeform ?? false);
    const block = openBlock({ kind: "open", part });
    this.#type = block["type"] as "text";
    if (block["type"] === "redacted_thinking") return "";
    const opened = this.#startBlock(block);
    return this.#isFreeform ? opened + this.#delta({ type: "input_json_delta", partial_json: `{"${FREEFORM_FIELD}":"` }) : opened;
  }

  #startBlock(block: JsonObject): string {
    this.#isStarted = true;
    return eventFrame("content_block_start", { type: "content_block_start", index: this.#index, content_block: block });
  }

  #stopBlock(): string {
    this.#isFreeform = false;
    if (!this.#isStarted) return "";
    return eventFrame("content_block_stop", { type: "content_block_stop", index: this.#index });
  }

  #deltaOf(text: string): JsonObject {
    if (this.#type === "thinking") return { type: "thinking_delta", thinking: text };
    if (this.#type !== "tool_use") return { type: "text_delta", text };
    return { type: "input_json_delta", partial_json: this.#isFreeform ? JSON.stringify(text).slice(1, -1) : text };
  }

  #delta(delta: JsonObject): string {
    return eventFrame("content_block_delta", { type: "content_block_delta", index: this.#index, delta });
  }
}

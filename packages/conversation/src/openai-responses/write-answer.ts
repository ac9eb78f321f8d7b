import { AppError } from "@proliferate/shared/errors";
import { type AnswerEvent, type AnswerUsage, type Citation, type Finish, type OpenPart, wholeInput } from "../answer.ts";
import type { AnswerContext, AnswerWriter } from "../codec.ts";
import type { Signature } from "../conversation.ts";
import { type JsonObject, objectOf, present } from "../json.ts";
import { writeErrorBody } from "../openai-chat/errors.ts";
import { sealSignature } from "../signatures.ts";
import { eventFrame } from "../sse.ts";
import { OPENAI_RESPONSES } from "./name.ts";
import { hiddenSignature, namesOf } from "./read-items.ts";

/** The usage as Responses say it: cached input is part of the input. */
function writeUsage(usage: AnswerUsage): JsonObject {
  const input = wholeInput(usage);
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: usage.cacheReadTokens, cache_write_tokens: usage.cacheWrite5mTokens + usage.cacheWrite1hTokens },
    output_tokens: usage.outputTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: input + usage.outputTokens,
  };
}

/** The last event of a stream repeats the whole answer, so that much of one is held; no answer of today's models comes near. */
const MOST_ANSWER_CHARACTERS = 8 * 1024 * 1024;

/** An item that is being written. */
class Item {
  readonly id: string;
  readonly part: OpenPart;
  text = "";
  signature: Signature | undefined;
  readonly annotations: JsonObject[] = [];

  constructor(id: string, part: OpenPart) {
    this.id = id;
    this.part = part;
  }

  cite({ url, title }: Citation): JsonObject {
    const annotation = { type: "url_citation", url, title: title ?? "", start_index: 0, end_index: this.text.length };
    this.annotations.push(annotation);
    return annotation;
  }

  /** As it is at its beginning, or at its end. */
  shown(isDone: boolean): JsonObject {
    const status = isDone ? "completed" : "in_progress";
    const { id, part, text } = this;
    if (part.kind === "thinking") {
      const sealed = isDone ? this.#sealed() : undefined;
      return present({
        id: this.#ownId() ?? id,
        type: "reasoning",
        summary: isDone && text !== "" ? [{ type: "summary_text", text }] : [],
        encrypted_content: sealed,
      });
    }
    if (part.kind !== "toolCall") return { id, type: "message", status, role: "assistant", content: isDone ? [this.content()] : [] };
    const called = { id, call_id: part.id, ...namesOf(part.name), status };
    if (part.isFreeform) return { ...called, type: "custom_tool_call", input: isDone ? text : "" };
    return { ...called, type: "function_call", arguments: isDone ? (text === "" ? "{}" : text) : "" };
  }

  content(text = this.text): JsonObject {
    if (this.part.kind === "refusal") return { type: "refusal", refusal: text };
    return { type: "output_text", text, annotations: [...this.annotations], logprobs: [] };
  }

  #ownId(): string | undefined {
    return this.signature?.origin === OPENAI_RESPONSES ? this.signature.id : undefined;
  }

  #sealed(): string | undefined {
    const { signature, part } = this;
    if (!signature) return undefined;
    const isHidden = part.kind === "thinking" && part.isRedacted && signature.origin !== OPENAI_RESPONSES;
    return sealSignature(isHidden ? hiddenSignature(signature) : signature, OPENAI_RESPONSES);
  }
}

const PREFIXES: Readonly<Record<OpenPart["kind"], string>> = { text: "msg", refusal: "msg", thinking: "rs", toolCall: "fc" };

/** What both forms of an answer know of it while it comes. */
class Items {
  readonly #context: AnswerContext;
  readonly #done: JsonObject[] = [];
  #id: string;
  #model: string;
  #finish: Finish | undefined;
  #characters = 0;
  open: Item | undefined;

  constructor(context: AnswerContext) {
    this.#context = context;
    this.#id = context.id;
    this.#model = context.model;
  }

  get index(): number {
    return this.#done.length;
  }

  /** Throws `provider_answer_too_large`. */
  take(event: AnswerEvent): void {
    const item = this.open;
    if (event.kind === "start") [this.#id, this.#model] = [event.id ?? this.#id, event.model ?? this.#model];
    else if (event.kind === "open") this.open = new Item(`${PREFIXES[event.part.kind]}_${this.index}_${this.#context.id}`, event.part);
    else if (event.kind === "finish") this.#finish = event.finish;
    else if (event.kind === "delta" && item) {
      item.text += event.text;
      this.#characters += event.text.length;
      if (this.#characters > MOST_ANSWER_CHARACTERS)
        throw new AppError("provider_answer_too_large", "The answer is too large to be repeated at its end.");
    } else if (event.kind === "signature" && item) item.signature = event.signature;
  }

  close(): JsonObject | undefined {
    const item = this.open?.shown(true);
    this.open = undefined;
    if (item) this.#done.push(item);
    return item;
  }

  /** `isOver`: with its items, its end and its usage. */
  response(isOver: boolean): JsonObject {
    const reason = this.#finish?.reason;
    const why =
      reason === "length" || reason === "context"
        ? "max_output_tokens"
        : reason === "refusal" && !this.#hasRefusal()
          ? "content_filter"
          : undefined;
    return {
      id: this.#id,
      object: "response",
      created_at: this.#context.createdAtSeconds,
      status: isOver ? (why === undefined ? "completed" : "incomplete") : "in_progress",
      error: null,
      incomplete_details: isOver && why !== undefined ? { reason: why } : null,
      instructions: null,
      metadata: {},
      model: this.#model,
      output: isOver ? this.#done : [],
      parallel_tool_calls: true,
      store: false,
      temperature: null,
      tool_choice: "auto",
      tools: [],
      top_p: null,
      usage: isOver ? writeUsage(this.#context.usage()) : null,
    };
  }

  /** What the model itself declined in words is a complete answer. */
  #hasRefusal(): boolean {
    return this.#done.some(({ content }) => Array.isArray(content) && objectOf(content[0])?.["type"] === "refusal");
  }
}

/** A whole answer. */
export function writeAnswer(events: readonly AnswerEvent[], context: AnswerContext): JsonObject {
  const items = new Items(context);
  for (const event of events) {
    items.take(event);
    if (event.kind === "citation") items.open?.cite(event.citation);
    if (event.kind === "close") items.close();
  }
  return items.response(true);
}

/** Frames of a stream of Responses. */
export class ResponsesStreamWriter implements AnswerWriter {
  readonly #items: Items;
  #sequence = 0;
  #hasBegun = false;

  constructor(context: AnswerContext) {
    this.#items = new Items(context);
  }

  write(event: AnswerEvent): string {
    this.#items.take(event);
    switch (event.kind) {
      case "start":
        return this.#begin();
      case "open":
        return this.#begin() + this.#open();
      case "delta":
        return this.#delta(event.text);
      case "citation":
        return this.#cite(event.citation);
      case "close":
        return this.#close();
      case "error":
        return this.#error(event);
      default:
        return "";
    }
  }

  end(): string {
    const begun = this.#begin();
    const response = this.#items.response(true);
    return begun + this.#event(response["status"] === "completed" ? "response.completed" : "response.incomplete", { response });
  }

  #begin(): string {
    if (this.#hasBegun) return "";
    this.#hasBegun = true;
    const response = this.#items.response(false);
    return this.#event("response.created", { response }) + this.#event("response.in_progress", { response });
  }

  #open(): string {
    const item = this.#items.open;
    if (!item) return "";
    const added = this.#event("response.output_item.added", { output_index: this.#items.index, item: item.shown(false) });
    switch (item.part.kind) {
      case "toolCall":
        return added;
      case "thinking":
        return item.part.isRedacted
          ? added
          : added + this.#event("response.reasoning_summary_part.added", { ...this.#at(item), part: { type: "summary_text", text: "" } });
      default:
        return added + this.#event("response.content_part.added", { ...this.#at(item), part: item.content("") });
    }
  }

  #at(item: Item): JsonObject {
    const at = { item_id: item.id, output_index: this.#items.index };
    if (item.part.kind === "toolCall") return at;
    return item.part.kind === "thinking" ? { ...at, summary_index: 0 } : { ...at, content_index: 0 };
  }

  #delta(delta: string): string {
    const item = this.#items.open;
    if (!item) return "";
    const at = this.#at(item);
    switch (item.part.kind) {
      case "toolCall":
        return this.#event(item.part.isFreeform ? "response.custom_tool_call_input.delta" : "response.function_call_arguments.delta", {
          ...at,
          delta,
        });
      case "thinking":
        return this.#event("response.reasoning_summary_text.delta", { ...at, delta });
      case "refusal":
        return this.#event("response.refusal.delta", { ...at, delta });
      default:
        return this.#event("response.output_text.delta", { ...at, delta, logprobs: [] });
    }
  }

  #cite(citation: Citation): string {
    const item = this.#items.open;
    if (!item) return "";
    const annotation_index = item.annotations.length;
    return this.#event("response.output_text.annotation.added", { ...this.#at(item), annotation_index, annotation: item.cite(citation) });
  }

  #close(): string {
    const item = this.#items.open;
    if (!item) return "";
    const [at, output_index] = [this.#at(item), this.#items.index];
    const done = this.#done(item, at);
    return done + this.#event("response.output_item.done", { output_index, item: this.#items.close() });
  }

  #done(item: Item, at: JsonObject): string {
    const { text, part } = item;
    switch (part.kind) {
      case "toolCall":
        if (part.isFreeform) return this.#event("response.custom_tool_call_input.done", { ...at, input: text });
        return this.#event("response.function_call_arguments.done", {
          ...at,
          name: namesOf(part.name).name,
          arguments: text === "" ? "{}" : text,
        });
      case "thinking":
        if (part.isRedacted) return "";
        return (
          this.#event("response.reasoning_summary_text.done", { ...at, text }) +
          this.#event("response.reasoning_summary_part.done", { ...at, part: { type: "summary_text", text } })
        );
      case "refusal":
        return (
          this.#event("response.refusal.done", { ...at, refusal: text }) +
          this.#event("response.content_part.done", { ...at, part: item.content() })
        );
      default:
        return (
          this.#event("response.output_text.done", { ...at, text, logprobs: [] }) +
          this.#event("response.content_part.done", { ...at, part: item.content() })
        );
    }
  }

  /** With the fields of the event itself, and the error as chats have it: clients read one or the other. */
  #error(event: AnswerEvent & { kind: "error" }): string {
    const { error } = writeErrorBody(event.error).body as { readonly error: JsonObject };
    const { code, message, param } = error;
    return this.#event("error", { code, message, param, error });
  }

  #event(type: string, data: JsonObject): string {
    const sequence_number = this.#sequence;
    this.#sequence += 1;
    return eventFrame(type, { type, sequence_number, ...data });
  }
}

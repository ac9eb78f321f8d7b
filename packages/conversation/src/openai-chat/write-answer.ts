import { type AnswerEvent, type AnswerUsage, type Citation, type Finish, type OpenPart, wholeInput } from "../answer.ts";
import type { AnswerContext, AnswerWriter } from "../codec.ts";
import type { Signature } from "../conversation.ts";
import { type JsonObject, present } from "../json.ts";
import { sealSignature } from "../signatures.ts";
import { dataFrame } from "../sse.ts";
import { writeErrorBody } from "./errors.ts";
import { OPENAI_CHAT } from "./name.ts";

const FINISH_REASONS: Readonly<Record<Finish["reason"], string>> = {
  end: "stop",
  length: "length",
  context: "length",
  stop: "stop",
  tool_calls: "tool_calls",
  refusal: "content_filter",
  pause: "stop",
};

/** The usage as OpenAI says it: cached input is part of the input. */
function writeUsage(usage: AnswerUsage): JsonObject {
  const { cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens, reasoningTokens } = usage;
  const input = wholeInput(usage);
  const written = cacheWrite5mTokens + cacheWrite1hTokens;
  return {
    prompt_tokens: input,
    completion_tokens: outputTokens,
    total_tokens: input + outputTokens,
    prompt_tokens_details: { cached_tokens: cacheReadTokens, ...(written > 0 && { cache_write_tokens: written }) },
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
  };
}

/** One thought, as `reasoning_signatures` holds it for its maker; what it says stands in `reasoning_content`, too. */
function signedThought(text: string, signature: Signature, isRedacted: boolean): JsonObject {
  return { text, signature: sealSignature(signature, OPENAI_CHAT), ...(isRedacted && { redacted: true }) };
}

function annotation({ url, title }: Citation, start: number, end: number): JsonObject {
  return { type: "url_citation", url_citation: { url, title: title ?? "", start_index: start, end_index: end } };
}

/** What both forms of an answer know of it while it comes. */
class Thought {
  text = "";
  signature: Signature | undefined;
  readonly isRedacted: boolean;

  constructor(part: OpenPart) {
    this.isRedacted = part.kind === "thinking" && (part.isRedacted ?? false);
  }

  /** Undefined where nobody needs it back. */
  get signed(): JsonObject | undefined {
    const { signature } = this;
    if (!signature || (signature.origin === OPENAI_CHAT && signature.value === "")) return undefined;
    return signedThought(this.text, signature, this.isRedacted);
  }
}

/** A whole answer. */
export function writeAnswer(events: readonly AnswerEvent[], context: AnswerContext): JsonObject {
  let { id, model } = context;
  let [text, refusal, reasoning] = ["", "", ""];
  let [part, partStart]: [OpenPart | undefined, number] = [undefined, 0];
  let thought: Thought | undefined;
  let finish: Finish | undefined;
  const calls: { id: string; type: string; called: { name: string; input: string } }[] = [];
  const [annotations, signed]: [JsonObject[], JsonObject[]] = [[], []];
  for (const event of events) {
    if (event.kind === "start") [id, model] = [event.id ?? id, event.model ?? model];
    else if (event.kind === "open") {
      [part, partStart] = [event.part, text.length];
      thought = part.kind === "thinking" ? new Thought(part) : undefined;
      if (part.kind === "toolCall")
        calls.push({ id: part.id, type: part.isFreeform ? "custom" : "function", called: { name: part.name, input: "" } });
    } else if (event.kind === "delta") {
      if (part?.kind === "text") text += event.text;
      else if (part?.kind === "refusal") refusal += event.text;
      else if (part?.kind === "thinking")
        [reasoning, (thought as Thought).text] = [reasoning + event.text, (thought?.text ?? "") + event.text];
      else (calls.at(-1) as (typeof calls)[0]).called.input += event.text;
    } else if (event.kind === "signature" && thought) thought.signature = event.signature;
    else if (event.kind === "citation") annotations.push(annotation(event.citation, partStart, text.length));
    else if (event.kind === "close" && thought?.signed) signed.push(thought.signed);
    else if (event.kind === "finish") finish = event.finish;
  }
  const message = present({
    role: "assistant",
    content: text === "" && (calls.length > 0 || refusal !== "") ? null : text,
    refusal: refusal === "" ? null : refusal,
    annotations: annotations.length === 0 ? undefined : annotations,
    reasoning_content: reasoning === "" ? undefined : reasoning,
    reasoning_signatures: signed.length === 0 ? undefined : signed,
    tool_calls: calls.length === 0 ? undefined : calls.map((call) => callOf(call)),
  });
  return {
    id,
    object: "chat.completion",
    created: context.createdAtSeconds,
    model,
    choices: [{ index: 0, message, logprobs: null, finish_reason: FINISH_REASONS[finish?.reason ?? "end"] }],
    usage: writeUsage(context.usage()),
  };
}

function callOf({
  id,
  type,
  called: { name, input },
}: {
  readonly id: string;
  readonly type: string;
  readonly called: { name: string; input: string };
}): JsonObject {
  return { id, type, [type]: type === "custom" ? { name, input } : { name, arguments: input === "" ? "{}" : input } };
}

/** Frames of a stream of chat completions: one choice, and the usage at the end where it was asked for. */
export class ChatStreamWriter implements AnswerWriter {
  readonly #context: AnswerContext;
  #id: string;
  #model: string;
  #hasBegun = false;
  #part: OpenPart | undefined;
  #thought: Thought | undefined;
  #calls = -1;
  #textLength = 0;
  #partStart = 0;
  #finish: Finish | undefined;
  /** Of the open call something came. */
  #hasInput = false;

  constructor(context: AnswerContext) {
    this.#context = context;
    this.#id = context.id;
    this.#model = context.model;
  }

  write(event: AnswerEvent): string {
    switch (event.kind) {
      case "start":
        [this.#id, this.#model] = [event.id ?? this.#id, event.model ?? this.#model];
        return this.#begin();
      case "open":
        return this.#begin() + this.#open(event.part);
      case "delta":
        return this.#delta(event.text);
      case "signature":
        if (this.#thought) this.#thought.signature = event.signature;
        return "";
      case "citation":
        return this.#chunk({ annotations: [annotation(event.citation, this.#partStart, this.#textLength)] });
      case "close":
        return this.#close();
      case "finish":
        this.#finish = event.finish;
        return "";
      case "error":
        return dataFrame(writeErrorBody(event.error).body);
    }
  }

  end(): string {
    const usage = this.#context.wantsStreamUsage ? dataFrame({ ...this.#shell([]), usage: writeUsage(this.#context.usage()) }) : "";
    const last = dataFrame(
      this.#shell([{ index: 0, delta: {}, logprobs: null, finish_reason: FINISH_REASONS[this.#finish?.reason ?? "end"] }]),
    );
    return `${this.#begin()}${last}${usage}data: [DONE]\n\n`;
  }

  #begin(): string {
    if (this.#hasBegun) return "";
    this.#hasBegun = true;
    return this.#chunk({ role: "assistant", content: "" });
  }

  #open(part: OpenPart): string {
    this.#part = part;
    this.#partStart = this.#textLength;
    this.#thought = part.kind === "thinking" ? new Thought(part) : undefined;
    if (part.kind !== "toolCall") return "";
    this.#calls += 1;
    this.#hasInput = false;
    const { id, name } = part;
    return this.#call({ id, type: part.isFreeform ? "custom" : "function", ...this.#called({ name }, "") });
  }

  #delta(text: string): string {
    switch (this.#part?.kind) {
      case "toolCall":
        this.#hasInput = true;
        return this.#call(this.#called({}, text));
      case "thinking":
        if (this.#thought) this.#thought.text += text;
        return this.#chunk({ reasoning_content: text });
      case "refusal":
        return this.#chunk({ refusal: text });
      default:
        this.#textLength += text.length;
        return this.#chunk({ content: text });
    }
  }

  #close(): string {
    const signed = this.#thought?.signed;
    this.#thought = undefined;
    if (signed) return this.#chunk({ reasoning_signatures: [signed] });
    // A call without arguments has an empty object of them.
    const isEmptyCall = this.#part?.kind === "toolCall" && !this.#part.isFreeform && !this.#hasInput;
    return isEmptyCall ? this.#call(this.#called({}, "{}")) : "";
  }

  #called(named: object, text: string): JsonObject {
    const isFreeform = this.#part?.kind === "toolCall" && this.#part.isFreeform;
    return isFreeform ? { custom: { ...named, input: text } } : { function: { ...named, arguments: text } };
  }

  #call(call: JsonObject): string {
    return this.#chunk({ tool_calls: [{ index: this.#calls, ...call }] });
  }

  #chunk(delta: JsonObject): string {
    return dataFrame(this.#shell([{ index: 0, delta, logprobs: null, finish_reason: null }]));
  }

  #shell(choices: readonly JsonObject[]): JsonObject {
    const shell = { id: this.#id, object: "chat.completion.chunk", created: this.#context.createdAtSeconds, model: this.#model, choices };
    return this.#context.wantsStreamUsage ? { ...shell, usage: null } : shell;
  }
}

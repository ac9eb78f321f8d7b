import { AppError } from "@proliferate/shared/errors";
import type { AnswerEvent, Finish, OpenPart } from "../answer.ts";
import type { AnswerReader } from "../codec.ts";
import type { Signature } from "../conversation.ts";
import { filledText, type JsonObject, objectOf, objectsOf, textOf } from "../json.ts";
import { openSignature } from "../signatures.ts";
import { readResponsesError } from "./errors.ts";
import { OPENAI_RESPONSES } from "./name.ts";
import { shownSignature, toolName } from "./read-items.ts";

/** Between the parts of what is told of a thought. */
const PARAGRAPH = "\n\n";

/** The events of a whole answer. Throws `provider_answer_unreadable`. */
export function readAnswer(body: JsonObject): readonly AnswerEvent[] {
  if (!Array.isArray(body["output"])) throw new AppError("provider_answer_unreadable", "What the provider answered is no response.");
  const error = readResponsesError(body);
  if (error) throw new AppError("provider_answer_unreadable", `The provider's answer failed: ${error.message.slice(0, 512)}`);
  return [startOf(body), ...objectsOf(body["output"]).flatMap(wholeItem), { kind: "finish", finish: finishOf(body) }];
}

function startOf(response: JsonObject | undefined): AnswerEvent {
  return { kind: "start", id: filledText(response?.["id"]), model: filledText(response?.["model"]) };
}

function finishOf(response: JsonObject): Finish {
  const why = textOf(objectOf(response["incomplete_details"])?.["reason"]);
  if (response["status"] === "incomplete" || why !== undefined) return { reason: why === "content_filter" ? "refusal" : "length" };
  const output = objectsOf(response["output"]);
  const hasRefusal = output.some(({ content }) => objectsOf(content).some(({ type }) => type === "refusal"));
  return { reason: output.some(({ type }) => isCall(type)) ? "tool_calls" : hasRefusal ? "refusal" : "end" };
}

function isCall(type: unknown): boolean {
  return type === "function_call" || type === "custom_tool_call";
}

/** An item that came whole. Those of the provider's own tools are not told: nobody could have asked for them. */
function wholeItem(item: JsonObject): readonly AnswerEvent[] {
  if (item["type"] === "reasoning") return wholeThought(item);
  if (isCall(item["type"])) {
    const text = textOf(item["arguments"]) ?? textOf(item["input"]) ?? "";
    return [{ kind: "open", part: callOf(item) }, ...words(text), { kind: "close" }];
  }
  if (item["type"] !== "message") return [];
  return objectsOf(item["content"]).flatMap((part): readonly AnswerEvent[] => {
    if (part["type"] === "refusal")
      return [{ kind: "open", part: { kind: "refusal" } }, ...words(textOf(part["refusal"])), { kind: "close" }];
    if (part["type"] !== "output_text") return [];
    return [
      { kind: "open", part: { kind: "text" } },
      ...words(textOf(part["text"])),
      ...objectsOf(part["annotations"]).flatMap(citationOf),
      { kind: "close" },
    ];
  });
}

function wholeThought(item: JsonObject): readonly AnswerEvent[] {
  const parts = [...objectsOf(item["summary"]), ...objectsOf(item["content"])].map(({ text }) => textOf(text) ?? "");
  const signature = signatureOf(item);
  if (parts.length === 0 && !signature) return [];
  return [{ kind: "open", part: thoughtPart(signature) }, ...words(parts.join(PARAGRAPH)), ...signed(signature), { kind: "close" }];
}

function words(text: string | undefined): readonly AnswerEvent[] {
  return text === undefined || text === "" ? [] : [{ kind: "delta", text }];
}

function callOf(item: JsonObject): OpenPart & { readonly kind: "toolCall" } {
  const name = toolName(textOf(item["name"]) ?? "", filledText(item["namespace"]));
  const call = { kind: "toolCall", id: textOf(item["call_id"]) ?? "", name } as const;
  return item["type"] === "custom_tool_call" ? { ...call, isFreeform: true } : call;
}

function thoughtPart(signature: (Signature & { readonly isHidden?: boolean }) | undefined): OpenPart {
  return signature?.isHidden ? { kind: "thinking", isRedacted: true } : { kind: "thinking" };
}

/** Of another dialect's thoughts, too, where the provider is a gateway like this one. */
function signatureOf(item: JsonObject): (Signature & { readonly isHidden?: boolean }) | undefined {
  const sealed = filledText(item["encrypted_content"]);
  const signature = sealed === undefined ? undefined : openSignature(sealed, OPENAI_RESPONSES);
  if (signature?.origin === OPENAI_RESPONSES) return { ...signature, id: filledText(item["id"]) };
  if (!signature) return undefined;
  const { signature: own, isHidden } = shownSignature(signature);
  return { ...own, ...(isHidden && { isHidden }) };
}

function signed(signature: (Signature & { readonly isHidden?: boolean }) | undefined): readonly AnswerEvent[] {
  if (!signature) return [];
  const { origin, value, id } = signature;
  return [{ kind: "signature", signature: { origin, value, ...(id !== undefined && { id }) } }];
}

function citationOf(annotation: JsonObject): readonly AnswerEvent[] {
  const url = filledText(annotation["url"]);
  return url === undefined ? [] : [{ kind: "citation", citation: { url, title: filledText(annotation["title"]), text: undefined } }];
}

/** Where something stands in an answer; what is no number is one place. */
function placeOf(value: unknown): string {
  return typeof value === "number" ? `${value}` : "?";
}

/** Events of a stream of Responses. Items that come without pieces are told when they are done. */
export class ResponsesStreamReader implements AnswerReader {
  /** Which part is open: its item, and its place in it. */
  #open: string | undefined;
  /** Of the open part words have come. */
  #hasWords = false;
  /** Items that began to be told, by their places. */
  readonly #told = new Set<string>();

  read(data: JsonObject): readonly AnswerEvent[] {
    const error = readResponsesError(data);
    if (error) return [...this.#close(), { kind: "error", error: { ...error, status: undefined } }];
    const item = objectOf(data["item"]) ?? {};
    const [at, part] = [placeOf(data["output_index"]), placeOf(data["content_index"])];
    const text = textOf(data["delta"]) ?? "";
    switch (data["type"]) {
      case "response.created":
        return [startOf(objectOf(data["response"]))];
      case "response.output_item.added":
        return isCall(item["type"]) ? this.#begin(at, `${at} call`, callOf(item)) : [];
      case "response.output_text.delta":
        return this.#words(at, `${at} text ${part}`, { kind: "text" }, text);
      case "response.refusal.delta":
        return this.#words(at, `${at} refusal ${part}`, { kind: "refusal" }, text);
      case "response.reasoning_summary_text.delta":
      case "response.reasoning_text.delta":
        return this.#words(at, `${at} thought`, { kind: "thinking" }, text);
      case "response.reasoning_summary_part.added":
        return this.#open === `${at} thought` && this.#hasWords ? [{ kind: "delta", text: PARAGRAPH }] : [];
      case "response.function_call_arguments.delta":
      case "response.custom_tool_call_input.delta":
        return this.#words(at, `${at} call`, undefined, text);
      case "response.output_text.annotation.added":
        return this.#open?.startsWith(`${at} text`) ? citationOf(objectOf(data["annotation"]) ?? {}) : [];
      case "response.output_item.done":
        return this.#done(at, item);
      case "response.completed":
      case "response.incomplete":
        return [...this.#close(), { kind: "finish", finish: finishOf(objectOf(data["response"]) ?? {}) }];
      default:
        return [];
    }
  }

  end(): readonly AnswerEvent[] {
    return this.#close();
  }

  #begin(at: string, key: string, part: OpenPart): readonly AnswerEvent[] {
    const closed = this.#close();
    this.#open = key;
    this.#told.add(at);
    this.#hasWords = false;
    return [...closed, { kind: "open", part }];
  }

  #words(at: string, key: string, part: OpenPart | undefined, text: string): readonly AnswerEvent[] {
    if (text === "") return [];
    const begun = this.#open === key ? [] : part && !this.#told.has(key) ? this.#begin(at, key, part) : undefined;
    if (!begun) throw new AppError("provider_answer_unreadable", "The provider mixed the pieces of several items in one stream.");
    this.#told.add(key);
    this.#hasWords = true;
    return [...begun, { kind: "delta", text }];
  }

  #done(at: string, item: JsonObject): readonly AnswerEvent[] {
    if (!this.#told.has(at)) return [...this.#close(), ...wholeItem(item)];
    if (this.#open === `${at} thought`) return [...signed(signatureOf(item)), ...this.#close()];
    // What a call has as arguments may come with its end alone.
    const isBare = this.#open === `${at} call` && !this.#hasWords;
    return [...(isBare ? words(textOf(item["arguments"]) ?? textOf(item["input"])) : []), ...this.#close()];
  }

  #close(): readonly AnswerEvent[] {
    if (this.#open === undefined) return [];
    this.#open = undefined;
    return [{ kind: "close" }];
  }
}

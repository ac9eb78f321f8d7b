import { AppError } from "@proliferate/shared/errors";
import type { AnswerEvent, Citation, Finish } from "../answer.ts";
import type { AnswerReader } from "../codec.ts";
import { filledText, type JsonObject, objectOf, objectsOf, textOf } from "../json.ts";
import { openSignature } from "../signatures.ts";
import { readErrorBody } from "./errors.ts";
import { ANTHROPIC_MESSAGES } from "./name.ts";

const FINISH: Readonly<Record<string, Finish["reason"]>> = {
  end_turn: "end",
  max_tokens: "length",
  model_context_window_exceeded: "context",
  stop_sequence: "stop",
  tool_use: "tool_calls",
  pause_turn: "pause",
  refusal: "refusal",
};

/** The events of a whole answer. Throws `provider_answer_unreadable`. */
export function readAnswer(body: JsonObject): readonly AnswerEvent[] {
  if (!Array.isArray(body["content"])) throw unreadable();
  return [
    { kind: "start", id: filledText(body["id"]), model: filledText(body["model"]) },
    ...objectsOf(body["content"]).flatMap(wholeBlock),
    { kind: "finish", finish: finishOf(body) },
  ];
}

function wholeBlock(block: JsonObject): readonly AnswerEvent[] {
  const opened = openBlock(block);
  if (opened.length === 0 || block["type"] === "redacted_thinking") return opened.length === 0 ? [] : [...opened, { kind: "close" }];
  const text =
    block["type"] === "tool_use" ? JSON.stringify(block["input"] ?? {}) : (textOf(block["text"]) ?? textOf(block["thinking"]) ?? "");
  return [
    ...opened,
    ...(text === "" ? [] : [{ kind: "delta", text } as const]),
    ...signatureOf(textOf(block["signature"])),
    ...objectsOf(block["citations"]).flatMap(citationOf),
    { kind: "close" },
  ];
}

/** Blocks of the provider's own tools are not told: nobody could have asked for them. */
function openBlock(block: JsonObject): readonly AnswerEvent[] {
  switch (block["type"]) {
    case "text":
      return [{ kind: "open", part: { kind: "text" } }];
    case "thinking":
      return [{ kind: "open", part: { kind: "thinking" } }];
    case "redacted_thinking":
      return [{ kind: "open", part: { kind: "thinking", isRedacted: true } }, ...signatureOf(textOf(block["data"]))];
    case "tool_use":
      return [{ kind: "open", part: { kind: "toolCall", id: textOf(block["id"]) ?? "", name: textOf(block["name"]) ?? "" } }];
    default:
      return [];
  }
}

function signatureOf(text: string | undefined): readonly AnswerEvent[] {
  const signature = text === undefined || text === "" ? undefined : openSignature(text, ANTHROPIC_MESSAGES);
  return signature ? [{ kind: "signature", signature }] : [];
}

function citationOf(citation: JsonObject): readonly AnswerEvent[] {
  const url = filledText(citation["url"]) ?? filledText(citation["source"]);
  if (url === undefined) return [];
  const told: Citation = { url, title: filledText(citation["title"]), text: filledText(citation["cited_text"]) };
  return [{ kind: "citation", citation: told }];
}

function finishOf(said: JsonObject): Finish {
  const reason = FINISH[textOf(said["stop_reason"]) ?? ""] ?? "end";
  return { reason, stopSequence: filledText(said["stop_sequence"]) };
}

/** Events of a stream of Anthropic Messages. */
export class MessagesStreamReader implements AnswerReader {
  /** The index of the block that is open; undefined between blocks, and in one that is not told. */
  #open: unknown;

  read(data: JsonObject): readonly AnswerEvent[] {
    switch (data["type"]) {
      case "message_start": {
        const message = objectOf(data["message"]);
        return [{ kind: "start", id: filledText(message?.["id"]), model: filledText(message?.["model"]) }];
      }
      case "content_block_start":
        return this.#begin(data);
      case "content_block_delta":
        return data["index"] === this.#open ? readDelta(objectOf(data["delta"])) : [];
      case "content_block_stop":
        return data["index"] === this.#open ? this.#close() : [];
      case "message_delta":
        return [...this.#close(), { kind: "finish", finish: finishOf(objectOf(data["delta"]) ?? {}) }];
      case "error": {
        const error = readErrorBody(data);
        return error ? [...this.#close(), { kind: "error", error: { ...error, status: undefined } }] : [];
      }
      default:
        return [];
    }
  }

  end(): readonly AnswerEvent[] {
    return this.#close();
  }

  #begin(data: JsonObject): readonly AnswerEvent[] {
    const closed = this.#close();
    const block = objectOf(data["content_block"]) ?? {};
    const opened = openBlock(block);
    if (opened.length > 0) this.#open = data["index"];
    const text = textOf(block["text"]) ?? textOf(block["thinking"]) ?? "";
    return [...closed, ...opened, ...(opened.length > 0 && text !== "" ? [{ kind: "delta", text } as const] : [])];
  }

  #close(): readonly AnswerEvent[] {
    if (this.#open === undefined) return [];
    this.#open = undefined;
    return [{ kind: "close" }];
  }
}

function readDelta(delta: JsonObject | undefined): readonly AnswerEvent[] {
  switch (delta?.["type"]) {
    case "signature_delta":
      return signatureOf(textOf(delta["signature"]));
    case "citations_delta":
      return citationOf(objectOf(delta["citation"]) ?? {});
    default: {
      const text = textOf(delta?.["text"]) ?? textOf(delta?.["partial_json"]) ?? textOf(delta?.["thinking"]) ?? "";
      return text === "" ? [] : [{ kind: "delta", text }];
    }
  }
}

function unreadable(): AppError {
  return new AppError("provider_answer_unreadable", "What the provider answered is no message.");
}

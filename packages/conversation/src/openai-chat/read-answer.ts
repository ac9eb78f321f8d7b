import { AppError } from "@proliferate/shared/errors";
import type { AnswerEvent, Finish, OpenPart } from "../answer.ts";
import type { AnswerReader } from "../codec.ts";
import { filledText, type JsonObject, objectOf, objectsOf, textOf } from "../json.ts";
import { openSignature } from "../signatures.ts";
import { OPENAI_CHAT } from "./name.ts";
import { readErrorBody } from "./errors.ts";

const FINISH: Readonly<Record<string, Finish["reason"]>> = {
  stop: "end",
  length: "length",
  tool_calls: "tool_calls",
  function_call: "tool_calls",
  content_filter: "refusal",
};

/** The events of a whole answer: of its first choice. Throws `provider_answer_unreadable`. */
export function readAnswer(body: JsonObject): readonly AnswerEvent[] {
  const [choice] = objectsOf(body["choices"]);
  if (!choice) throw new AppError("provider_answer_unreadable", "What the provider answered is no chat completion.");
  const reader = new ChatStreamReader();
  const message = objectOf(choice["message"]) ?? {};
  const calls = objectsOf(message["tool_calls"]).map((call, index) => ({ ...call, index }));
  const delta = { ...message, tool_calls: calls };
  return [...reader.read({ ...body, choices: [{ ...choice, delta }] }), ...reader.end()];
}

/** Events of a stream of chat completions: of its first choice. */
export class ChatStreamReader implements AnswerReader {
  #hasBegun = false;
  /** Which part is open: `text`, `refusal`, `thinking`, or `call` and its index. */
  #open: string | undefined;
  readonly #calls = new Set<string>();

  read(data: JsonObject): readonly AnswerEvent[] {
    const error = readErrorBody(data);
    if (error) return [...this.#close(), { kind: "error", error: { ...error, status: undefined } }];
    const started: readonly AnswerEvent[] = this.#hasBegun
      ? []
      : [{ kind: "start", id: filledText(data["id"]), model: filledText(data["model"]) }];
    this.#hasBegun = true;
    const choice = objectsOf(data["choices"]).find(({ index }) => index === undefined || index === 0);
    if (!choice) return started;
    const finish = FINISH[textOf(choice["finish_reason"]) ?? ""] ?? (filledText(choice["finish_reason"]) ? "end" : undefined);
    return [
      ...started,
      ...this.#readDelta(objectOf(choice["delta"]) ?? {}),
      ...(finish ? [...this.#close(), { kind: "finish", finish: { reason: finish } } as const] : []),
    ];
  }

  end(): readonly AnswerEvent[] {
    return this.#close();
  }

  #readDelta(delta: JsonObject): readonly AnswerEvent[] {
    const signed = objectsOf(delta["reasoning_signatures"]);
    const thought = filledText(delta["reasoning_content"]) ?? filledText(delta["reasoning"]);
    const [text, refusal] = [filledText(delta["content"]), filledText(delta["refusal"])];
    return [
      ...(signed.length > 0 ? signed.flatMap((one) => this.#signed(one)) : thought === undefined ? [] : this.#words("thinking", thought)),
      ...(text === undefined ? [] : this.#words("text", text)),
      ...(refusal === undefined ? [] : this.#words("refusal", refusal)),
      ...objectsOf(delta["annotations"]).flatMap(citationOf),
      ...objectsOf(delta["tool_calls"]).flatMap((call) => this.#call(call)),
    ];
  }

  #words(kind: "text" | "refusal" | "thinking", text: string): readonly AnswerEvent[] {
    return [...this.#openPart(kind, { kind }), { kind: "delta", text }];
  }

  /** A thought with its signature, as our own writer says it: whole. */
  #signed({ text, signature, redacted }: JsonObject): readonly AnswerEvent[] {
    const opened = openSignature(textOf(signature) ?? "", OPENAI_CHAT);
    if (this.#open === "thinking") {
      // Its words came before.
      this.#open = undefined;
      return [...(opened ? [{ kind: "signature", signature: opened } as const] : []), { kind: "close" }];
    }
    const part = { kind: "thinking", ...(redacted === true && { isRedacted: true }) } as const;
    return [
      ...this.#close(),
      { kind: "open", part },
      ...(filledText(text) === undefined ? [] : [{ kind: "delta", text: String(text) } as const]),
      ...(opened ? [{ kind: "signature", signature: opened } as const] : []),
      { kind: "close" },
    ];
  }

  #call(call: JsonObject): readonly AnswerEvent[] {
    const custom = objectOf(call["custom"]);
    const called = custom ?? objectOf(call["function"]) ?? {};
    const key = `call ${typeof call["index"] === "number" ? call["index"] : (filledText(call["id"]) ?? this.#calls.size)}`;
    const text = filledText(called["arguments"]) ?? filledText(called["input"]);
    if (this.#calls.has(key) && this.#open !== key) {
      if (text === undefined) return [];
      throw new AppError("provider_answer_unreadable", "The provider mixed the arguments of several calls in one stream.");
    }
    this.#calls.add(key);
    const part: OpenPart = {
      kind: "toolCall",
      id: textOf(call["id"]) ?? "",
      name: textOf(called["name"]) ?? "",
      ...(custom && { isFreeform: true }),
    };
    return [...this.#openPart(key, part), ...(text === undefined ? [] : [{ kind: "delta", text } as const])];
  }

  #openPart(key: string, part: OpenPart): readonly AnswerEvent[] {
    if (this.#open === key) return [];
    const closed = this.#close();
    this.#open = key;
    return [...closed, { kind: "open", part }];
  }

  /** A thought of a compatible server has no signature; that it is its own has to be known when it comes back. */
  #close(): readonly AnswerEvent[] {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return [];
    if (open === "thinking") return [{ kind: "signature", signature: { origin: OPENAI_CHAT, value: "" } }, { kind: "close" }];
    return [{ kind: "close" }];
  }
}

function citationOf(annotation: JsonObject): readonly AnswerEvent[] {
  const cited = objectOf(annotation["url_citation"]);
  const url = filledText(cited?.["url"]);
  return url === undefined ? [] : [{ kind: "citation", citation: { url, title: filledText(cited?.["title"]), text: undefined } }];
}

import { AppError } from "@proliferate/shared/errors";
import type { AnswerEvent, Finish, OpenPart } from "../answer.ts";
import type { AnswerReader } from "../codec.ts";
import { filledText, type JsonObject, objectOf, objectsOf, textOf } from "../json.ts";
import { openSignature } from "../signatures.ts";
import { readErrorBody } from "./errors.ts";
import { GEMINI } from "./name.ts";
import { placeOfCall, SIGNED_TEXT } from "./thought-signatures.ts";

/** All others are the end of what the model had to say. */
const FINISH: Readonly<Record<string, Finish["reason"]>> = {
  MAX_TOKENS: "length",
  CONTINUATION: "pause",
  SAFETY: "refusal",
  RECITATION: "refusal",
  LANGUAGE: "refusal",
  BLOCKLIST: "refusal",
  PROHIBITED_CONTENT: "refusal",
  SPII: "refusal",
  IMAGE_SAFETY: "refusal",
  IMAGE_PROHIBITED_CONTENT: "refusal",
  IMAGE_RECITATION: "refusal",
  MODEL_ARMOR: "refusal",
};

/** The events of a whole answer: it is a stream of one chunk. Throws `provider_answer_unreadable`. */
export function readAnswer(body: JsonObject): readonly AnswerEvent[] {
  if (!Array.isArray(body["candidates"]) && !objectOf(body["promptFeedback"]))
    throw new AppError("provider_answer_unreadable", "What the provider answered has no candidates.");
  const reader = new GeminiStreamReader();
  return [...reader.read(body), ...reader.end()];
}

/** Events of a stream of Gemini. Calls come whole; words of one kind that follow each other are one part. */
export class GeminiStreamReader implements AnswerReader {
  #hasBegun = false;
  #open: "text" | "thinking" | undefined;
  #calls = 0;
  /** The last reason that was given; some models give one in each chunk. */
  #finish: string | undefined;
  #isBlocked = false;
  #isOver = false;

  read(data: JsonObject): readonly AnswerEvent[] {
    const error = readErrorBody(data);
    if (error) {
      this.#isOver = true;
      return [...this.#close(), { kind: "error", error: { ...error, status: undefined } }];
    }
    const started = this.#start(data);
    this.#isBlocked ||= filledText(objectOf(data["promptFeedback"])?.["blockReason"]) !== undefined;
    const candidate = objectsOf(data["candidates"]).find(({ index }) => index === undefined || index === 0);
    if (!candidate) return started;
    const parts = objectsOf(objectOf(candidate["content"])?.["parts"]).flatMap((part) => this.#part(part));
    this.#finish = filledText(candidate["finishReason"]) ?? this.#finish;
    return [...started, ...parts, ...this.#citations(candidate)];
  }

  end(): readonly AnswerEvent[] {
    const closed = this.#close();
    if (this.#isOver || (this.#finish === undefined && !this.#isBlocked)) return closed;
    this.#isOver = true;
    const said = this.#finish === undefined ? "refusal" : (FINISH[this.#finish] ?? "end");
    return [...closed, { kind: "finish", finish: { reason: said === "end" && this.#calls > 0 ? "tool_calls" : said } }];
  }

  #start(data: JsonObject): readonly AnswerEvent[] {
    if (this.#hasBegun) return [];
    this.#hasBegun = true;
    return [{ kind: "start", id: filledText(data["responseId"]), model: filledText(data["modelVersion"])?.replace(/^models\//, "") }];
  }

  #part(part: JsonObject): readonly AnswerEvent[] {
    const [text, sealed] = [textOf(part["text"]), filledText(part["thoughtSignature"])];
    if (part["thought"] === true) return this.#thought(text, sealed);
    const call = objectOf(part["functionCall"]);
    if (call) return [...this.#signature(sealed, placeOfCall(this.#calls)), ...this.#call(call)];
    const signed = this.#signature(sealed, SIGNED_TEXT);
    // Code that the provider ran, and media, are not told: nobody could have asked for them.
    if (text === undefined || text === "") return signed;
    return [...signed, ...this.#openPart("text"), { kind: "delta", text }];
  }

  #thought(text: string | undefined, sealed: string | undefined): readonly AnswerEvent[] {
    const isHidden = text === undefined;
    const opened = isHidden ? [...this.#close(), openedThought(true)] : this.#openPart("thinking");
    const said: readonly AnswerEvent[] = text === undefined || text === "" ? [] : [{ kind: "delta", text }];
    this.#open = "thinking";
    return [...opened, ...said, ...(sealed === undefined && !isHidden ? [] : this.#sign(sealed, undefined))];
  }

  /** A signature of what is no thought is the end of the thought before it, or a hidden one of its own. */
  #signature(sealed: string | undefined, place: string): readonly AnswerEvent[] {
    if (sealed === undefined) return [];
    if (this.#open === "thinking") return this.#sign(sealed, place);
    const closed = this.#close();
    this.#open = "thinking";
    return [...closed, openedThought(true), ...this.#sign(sealed, place)];
  }

  #sign(sealed: string | undefined, place: string | undefined): readonly AnswerEvent[] {
    this.#open = undefined;
    const opened = sealed === undefined ? undefined : openSignature(sealed, GEMINI);
    const isPlaced = opened?.origin === GEMINI && place !== undefined;
    const signature = isPlaced ? { ...opened, id: place } : opened;
    return [...(signature ? [{ kind: "signature", signature } as const] : []), { kind: "close" }];
  }

  #call(call: JsonObject): readonly AnswerEvent[] {
    this.#calls += 1;
    const part: OpenPart = { kind: "toolCall", id: textOf(call["id"]) ?? "", name: textOf(call["name"]) ?? "" };
    return [
      ...this.#close(),
      { kind: "open", part },
      { kind: "delta", text: JSON.stringify(objectOf(call["args"]) ?? {}) },
      { kind: "close" },
    ];
  }

  /** Of words that are being said; what searches found is not among them, because nobody can ask for one. */
  #citations(candidate: JsonObject): readonly AnswerEvent[] {
    if (this.#open !== "text") return [];
    return objectsOf(objectOf(candidate["citationMetadata"])?.["citations"]).flatMap((citation): readonly AnswerEvent[] => {
      const url = filledText(citation["uri"]);
      return url === undefined ? [] : [{ kind: "citation", citation: { url, title: filledText(citation["title"]), text: undefined } }];
    });
  }

  #openPart(kind: "text" | "thinking"): readonly AnswerEvent[] {
    if (this.#open === kind) return [];
    const closed = this.#close();
    this.#open = kind;
    return [...closed, kind === "thinking" ? openedThought(false) : { kind: "open", part: { kind } }];
  }

  /** What Gemini says of its thoughts is unsigned; that it is its own has to be known when it comes back. */
  #close(): readonly AnswerEvent[] {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return [];
    if (open === "thinking") return [{ kind: "signature", signature: { origin: GEMINI, value: "" } }, { kind: "close" }];
    return [{ kind: "close" }];
  }
}

function openedThought(isRedacted: boolean): AnswerEvent {
  return { kind: "open", part: { kind: "thinking", ...(isRedacted && { isRedacted }) } };
}

import { randomInt } from "node:crypto";
import type { Answer, Conversation } from "./answer.ts";
import type { JournalEntry } from "./journal.ts";
import type { ServedUsage } from "./served-usage.ts";

export interface WireError {
  readonly status: number;
  readonly type: string;
  readonly message: string;
}

export interface WireAnswer {
  readonly responseId: string;
  readonly model: string;
  readonly answer: Answer;
  readonly usage: ServedUsage;
  /** False leaves every usage field out. */
  readonly showUsage: boolean;
  readonly request: Readonly<Record<string, unknown>>;
}

/** What differs between the two APIs on the wire. */
export interface Dialect {
  /** What the API itself would refuse; undefined for a good request. */
  validate(request: Readonly<Record<string, unknown>>, entry: JournalEntry): WireError | undefined;
  readConversation(request: Readonly<Record<string, unknown>>): Conversation;
  countUsage(request: Readonly<Record<string, unknown>>, answer: Answer): ServedUsage;
  newResponseId(): string;
  responseHeaders(requestId: string): Record<string, string>;
  /** The answer as SSE frames, each with its blank line, in the API's order. */
  frames(answer: WireAnswer): Iterable<string>;
  /** The answer as one JSON object. */
  body(answer: WireAnswer): unknown;
  errorBody(error: WireError, requestId: string): unknown;
  /** The error as the frame that a broken stream carries. */
  errorFrame(error: WireError, requestId: string): string;
  /** The `type` that the API gives an error of this status. */
  errorType(status: number): string;
}

const ID_ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** A random id as the APIs make them: `msg_01…`, `chatcmpl-…`. */
export function newId(prefix: string, length: number): string {
  return prefix + Array.from({ length }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]).join("");
}

/** Cuts text into deltas of a few words (large ones for a huge answer), never inside a character. */
export function* textPieces(text: string): Iterable<string> {
  const size = text.length > 100_000 ? 4_096 : 24;
  for (let start = 0; start < text.length;) {
    const last = text.charCodeAt(start + size - 1);
    const end = start + size + (last >= 0xd800 && last < 0xdc00 ? 1 : 0);
    yield text.slice(start, end);
    start = end;
  }
}

/** The text of a message's content: a string, or the text blocks of a list. */
export function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  return listOf(content)
    .map((block) => (typeof block["text"] === "string" ? block["text"] : ""))
    .filter(Boolean)
    .join("\n");
}

export function listOf(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "object" && item !== null) : [];
}

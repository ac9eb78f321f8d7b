import type { AnswerEvent, AnswerUsage, ProviderError } from "./answer.ts";
import type { Conversation } from "./conversation.ts";
import type { Place } from "./fields.ts";
import type { JsonObject } from "./json.ts";
import type { Notes, Sayings } from "./notes.ts";

/** What the path of a request says in place of its body, in a dialect whose bodies do not. */
export interface AskedInPath {
  /** As the caller names it. */
  readonly model: string;
  readonly isStream: boolean;
}

/** The model that a request is written for. */
export interface Target {
  /** As its provider names it. */
  readonly model: string;
  /** Most tokens that it answers; undefined where nobody says. */
  readonly maxOutputTokens: number | undefined;
}

/** A request as it is written for a provider. */
export interface WrittenRequest {
  readonly body: JsonObject;
  /** By the name that the provider was given, the tool's own name; only those that differ. */
  readonly renamedTools: ReadonlyMap<string, string>;
}

/** What a writer of an answer has to know beside the answer. */
export interface AnswerContext {
  /** Of the answer, where the provider gives none. */
  readonly id: string;
  /** The model as the caller asked for it, where the provider does not name it. */
  readonly model: string;
  readonly createdAtSeconds: number;
  /** What is known of it now; the last word once the answer is over. */
  readonly usage: () => AnswerUsage;
  /** The caller reads the usage at the end of a stream, where that is asked for. */
  readonly wantsStreamUsage: boolean;
}

/** Makes events of one answer, frame by frame. Throws `provider_answer_unreadable` for what is no answer of the dialect. */
export interface AnswerReader {
  /** `data` of one frame of the stream; `[DONE]` and the like are undefined. */
  read(data: JsonObject): readonly AnswerEvent[];
  /** The stream is over: what is still open is closed. */
  end(): readonly AnswerEvent[];
}

/** Makes frames of one answer, each whole. */
export interface AnswerWriter {
  write(event: AnswerEvent): string;
  /** The answer came to its end: its last frames, with the usage. */
  end(): string;
}

/** A dialect on both sides of the model. Pure; readers and writers of streams hold the state of one answer. */
export interface Codec {
  /** As in `Signature.origin`. */
  readonly name: string;
  /** Every object of a request, with every field. */
  readonly places: readonly Place[];
  /** SDK types of parts of a request that are refused whole, and why. */
  readonly refusedTypes: Readonly<Record<string, string>>;
  /** What its writer does with what other dialects can ask for. */
  readonly sayings: Sayings;
  /** `inPath`: undefined where the body says it. Throws `invalid_request` and `not_translatable`. */
  readRequest(body: JsonObject, notes: Notes, inPath: AskedInPath | undefined): Conversation;
  /** Throws `not_translatable`. */
  writeRequest(conversation: Conversation, target: Target, notes: Notes): WrittenRequest;
  /** The events of an answer that is no stream. Throws `provider_answer_unreadable`. */
  readAnswer(body: JsonObject): readonly AnswerEvent[];
  writeAnswer(events: readonly AnswerEvent[], context: AnswerContext): JsonObject;
  streamReader(): AnswerReader;
  streamWriter(context: AnswerContext): AnswerWriter;
  /** The error in the body of an answer; undefined where there is none. */
  readError(body: JsonObject): Omit<ProviderError, "status"> | undefined;
  /** An error in the envelope of the dialect, and its status. */
  writeError(error: ProviderError, requestId: string): { readonly status: number; readonly body: JsonObject };
}

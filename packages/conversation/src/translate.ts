import { AppError } from "@proliferate/shared/errors";
import type { AnswerEvent, AnswerUsage, ProviderError } from "./answer.ts";
import type { AnswerContext, AnswerReader, AnswerWriter, AskedInPath, Codec, Target } from "./codec.ts";
import { FREEFORM_FIELD, type JsonObject, parseExact, parseObject } from "./json.ts";
import { Notes } from "./notes.ts";
import { FrameData } from "./sse.ts";

/** A request in another dialect, and what its answer's way back has to know. */
export interface TranslatedRequest {
  readonly body: string;
  /** By the name that the provider was given, the caller's own name of the tool. */
  readonly renamedTools: ReadonlyMap<string, string>;
  readonly freeformTools: ReadonlySet<string>;
  readonly wantsStreamUsage: boolean;
  /** Patterns of paths in the caller's body that go no further, and of those that go on in another value. */
  readonly droppedFields: readonly string[];
  readonly changedFields: readonly string[];
}

/**
 * Writes a request of one dialect in another one. The text is JSON, and no deeper than whoever calls has checked. Throws `invalid_request` for what is no
 * request of its dialect, and `not_translatable` with the field for what the other one cannot say.
 *
 * `inPath`: what the caller's path says in place of the body. Where the written body names no model (Gemini's), the provider's path has to.
 */
export function translateRequest(text: string, from: Codec, to: Codec, target: Target, inPath?: AskedInPath): TranslatedRequest {
  return withinDepth("invalid_request", () => translate(text, from, to, target, inPath));
}

/** What is nested deeper than this process can write is told by a code; everything else that is thrown passes. */
function withinDepth<Result>(code: "invalid_request" | "provider_answer_unreadable", run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    if (error instanceof RangeError) throw new AppError(code, "What came is nested too deeply.", { cause: error });
    throw error;
  }
}

function translate(text: string, from: Codec, to: Codec, target: Target, inPath: AskedInPath | undefined): TranslatedRequest {
  const notes = new Notes();
  const conversation = from.readRequest(parseExact(text) as JsonObject, notes, inPath);
  const { body, renamedTools } = to.writeRequest(conversation, target, notes);
  const { tools, wantsStreamUsage } = conversation.settings;
  return {
    body: JSON.stringify(body),
    renamedTools,
    freeformTools: new Set(tools.filter(({ kind }) => kind === "freeform").map(({ name }) => name)),
    wantsStreamUsage,
    droppedFields: notes.droppedFields,
    changedFields: notes.changedFields,
  };
}

/** The way back of one answer. */
interface AnswerOptions {
  /** What the provider speaks, and what the caller does. */
  readonly from: Codec;
  readonly to: Codec;
  readonly request: Pick<TranslatedRequest, "renamedTools" | "freeformTools" | "wantsStreamUsage">;
  readonly id: string;
  readonly model: string;
  readonly createdAtSeconds: number;
  /** The tokens that are billed. */
  readonly usage: () => AnswerUsage;
}

/** One answer, whole or streamed, from the provider's dialect to the caller's. */
export class AnswerTranslation {
  readonly #options: AnswerOptions;
  readonly #context: AnswerContext;
  readonly #frames = new FrameData();
  readonly #reader: AnswerReader;
  readonly #writer: AnswerWriter;
  #calls = 0;
  /** What a free-form tool is called with, in a field of an object, as far as it came; undefined outside such a call. */
  #wrapped: string | undefined;

  constructor(options: AnswerOptions) {
    this.#options = options;
    this.#context = { ...options, wantsStreamUsage: options.request.wantsStreamUsage };
    this.#reader = options.from.streamReader();
    this.#writer = options.to.streamWriter(this.#context);
  }

  /** Bytes that wait for the end of their frame. */
  get heldBytes(): number {
    return this.#frames.heldBytes;
  }

  /** Frames of the caller's dialect for the pieces of the provider's stream, cut anywhere. Throws `provider_answer_unreadable` and `provider_answer_too_large`. */
  push(pieces: readonly Uint8Array[]): readonly Buffer[] {
    const text = withinDepth("provider_answer_unreadable", () => this.#framesOf(pieces));
    return text === "" ? [] : [Buffer.from(text)];
  }

  #framesOf(pieces: readonly Uint8Array[]): string {
    return pieces
      .flatMap((piece) => this.#frames.push(piece))
      .flatMap((data) => (data ? this.#reader.read(data) : []))
      .flatMap((event) => this.#mended(event))
      .map((event) => this.#writer.write(event))
      .join("");
  }

  /** The stream came to its end, and is settled: its last frames. */
  end(): Buffer {
    const rest = this.#reader
      .end()
      .flatMap((event) => this.#mended(event))
      .map((event) => this.#writer.write(event));
    return Buffer.from(rest.join("") + this.#writer.end());
  }

  /** An answer that is no stream. Throws `provider_answer_unreadable`. */
  whole(text: string): Buffer {
    const body = parseObject(text);
    if (!body) throw new AppError("provider_answer_unreadable", "What the provider answered is no answer of its API.");
    const { from, to } = this.#options;
    return withinDepth("provider_answer_unreadable", () => {
      const events = from.readAnswer(body).flatMap((event) => this.#mended(event));
      return Buffer.from(JSON.stringify(to.writeAnswer(events, this.#context)));
    });
  }

  /** Tools get their own names back; and an answer that calls some ends because of that, whatever its server says. */
  #mended(event: AnswerEvent): readonly AnswerEvent[] {
    const { renamedTools, freeformTools } = this.#options.request;
    if (event.kind === "open" && event.part.kind === "toolCall") {
      this.#calls += 1;
      // A dialect may give calls no ids; callers of others match results by them, across the whole conversation.
      const id = event.part.id === "" ? `call_${this.#options.id}_${this.#calls}` : event.part.id;
      const name = renamedTools.get(event.part.name) ?? event.part.name;
      const isWrapped = freeformTools.has(name) && !event.part.isFreeform;
      this.#wrapped = isWrapped ? "" : undefined;
      return [{ kind: "open", part: { ...event.part, id, name, ...(isWrapped && { isFreeform: true }) } }];
    }
    if (this.#wrapped !== undefined && event.kind === "delta") {
      this.#wrapped += event.text;
      if (this.#wrapped.length > MOST_INPUT)
        throw new AppError("provider_answer_too_large", "A call of a tool in the provider's answer is too large.");
      return [];
    }
    if (this.#wrapped !== undefined && event.kind === "close") {
      const text = unwrapped(this.#wrapped);
      this.#wrapped = undefined;
      return [...(text === "" ? [] : [{ kind: "delta", text } as const]), event];
    }
    const isMisnamed = event.kind === "finish" && event.finish.reason === "end" && this.#calls > 0;
    return [isMisnamed ? { kind: "finish", finish: { reason: "tool_calls" } } : event];
  }
}

/** Characters of what a free-form tool is called with, in a dialect that has none. */
const MOST_INPUT = 8 * 1024 * 1024;

/** The text of a free-form tool where it stands in the one field of an object. */
function unwrapped(input: string): string {
  const text = parseObject(input)?.[FREEFORM_FIELD];
  return typeof text === "string" ? text : input;
}

/** A provider's error in the caller's dialect, with the status of its answer. Any text is one. */
export function translateError(text: string, status: number, from: Codec, to: Codec, requestId: string): { status: number; body: string } {
  const body = parseObject(text);
  const said = body && from.readError(body);
  const error: ProviderError = said
    ? { ...said, status }
    : { status, type: undefined, code: undefined, message: `The provider answered with status ${status}.`, param: undefined };
  const written = to.writeError(error, requestId);
  return { status: written.status, body: JSON.stringify(written.body) };
}

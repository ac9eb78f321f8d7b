import { objectOf, parseJsonObject, type UsageReading } from "@proliferate/metering/usage";
import type { Asked, Dialect } from "../dialects/dialect.ts";
import { readAnswer } from "./meter.ts";
import { TopLevelFields } from "./top-level-fields.ts";

/**
 * An answer up to this size is held until it is settled, so that a failure can still be told by status. Of a larger one only
 * its last bytes are held: memory does not follow what a provider sends, nor a caller that does not read.
 */
const HOLD_BYTES = 128 * 1024;
/**
 * The end that waits for its settlement. A copy: the piece that it was the end of goes on at once and is garbage at once, as long as that costs
 * little. A piece that waits for the next one is old by then, and fifty large answers filled the old generation with such pieces.
 */
const END_BYTES = 64;

/**
 * - `answer`: the provider's answer, with or without its usage
 * - `error`: a provider's error under a status that says success
 * - `nothing`: no answer of this dialect (a page of a middlebox, broken JSON)
 */
interface WholeReading {
  readonly kind: "answer" | "error" | "nothing";
  readonly usage: UsageReading;
}

interface WholeAnswerOptions {
  readonly passes: boolean;
  readonly asked: Asked;
  readonly holdBytes?: number;
}

/** An answer that is no stream, as it comes in. */
export class WholeAnswer {
  readonly #dialect: Dialect;
  readonly #passes: boolean;
  readonly #asked: Asked;
  readonly #holdBytes: number;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #bytes = 0;
  #fields: TopLevelFields | undefined;

  /**
   * `passes`: what is not held is the caller's; otherwise it is read and dropped. `asked`: what the answer's bill depends on beside it. `holdBytes`: an
   * answer up to this size is held whole.
   */
  constructor(dialect: Dialect, { passes, asked, holdBytes = HOLD_BYTES }: WholeAnswerOptions) {
    this.#holdBytes = holdBytes;
    this.#asked = asked;
    this.#dialect = dialect;
    this.#passes = passes;
  }

  /** A part of it was given out, so that the caller's answer has begun. */
  get isPassing(): boolean {
    return this.#passes && this.#fields !== undefined;
  }

  /** Nothing of it was given out or dropped. */
  get isComplete(): boolean {
    return this.#fields === undefined;
  }

  /** Bytes that are held now. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Returns what may be sent on now. */
  push(chunk: Buffer): readonly Buffer[] {
    this.#bytes += chunk.length;
    this.#fields?.push(chunk);
    if (this.#fields) return this.#passOn(chunk);
    this.#held.push(ownBuffer(chunk));
    this.#heldBytes += chunk.length;
    if (this.#heldBytes <= this.#holdBytes) return [];
    this.#fields = new TopLevelFields(this.#dialect.listRead);
    for (const piece of this.#held) this.#fields.push(piece);
    return this.#passOn(this.#held.pop() ?? chunk);
  }

  /** Everything up to the last bytes of what has come. */
  #passOn(chunk: Buffer): readonly Buffer[] {
    const last = chunk.length > END_BYTES ? chunk : Buffer.concat([...this.#held, chunk]);
    const before = chunk.length > END_BYTES ? this.#held : [];
    const end = Math.max(0, last.length - END_BYTES);
    this.#held = [Buffer.from(last.subarray(end))];
    this.#heldBytes = last.length - end;
    return this.#passes ? [...before, last.subarray(0, end)].filter(({ length }) => length > 0) : [];
  }

  /** The end that was held back; the whole of a small answer. */
  rest(): Buffer {
    return Buffer.concat(this.#held);
  }

  /** What is known of it at its end, or where it broke off. */
  read(): WholeReading {
    const text = this.#fields ? (this.#fields.text() ?? "") : this.rest().toString("utf8");
    const usage = readAnswer(this.#dialect, Buffer.from(text), this.#bytes, this.#asked);
    const json = parseJsonObject(text);
    const isAnswer = usage.isInputReported || usage.hasOutput;
    if (json !== undefined && isAnswer) return { kind: "answer", usage };
    const hasError =
      json !== undefined && (objectOf(json["error"]) !== undefined || typeof json["error"] === "string" || json["type"] === "error");
    return { kind: hasError ? "error" : "nothing", usage };
  }
}

/** What is kept keeps alive no more than twice its size: a view of something larger is copied. */
function ownBuffer(chunk: Buffer): Buffer {
  return chunk.length * 2 >= chunk.buffer.byteLength ? chunk : Buffer.from(chunk);
}

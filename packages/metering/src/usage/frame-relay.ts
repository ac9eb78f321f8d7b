/**
 * - `pass`: the client gets the frame
 * - `drop`: the client must not see it
 * - `hold`: it and everything after it waits until the caller takes it
 */
export type FrameVerdict = "pass" | "drop" | "hold";

/** A frame beyond this size is passed on unread; no provider sends one, and memory stays bounded. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024;

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/**
 * Cuts a byte stream into SSE frames (each with its blank line, `\n` or `\r\n`) wherever the network cut it, and lets an
 * inspector decide over each. What passes is exactly what came, in order, less what was dropped; where nothing is dropped
 * it is a view of the chunk, not a copy. A frame is passed on as soon as it is complete: a client could not use half of it.
 */
export class FrameRelay {
  readonly #inspect: (frame: Buffer) => FrameVerdict;
  /** The unfinished frame; after a `hold`, everything held. Copies: the pushed chunk stays its owner's. */
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #lineLength = 0;
  #lastByte = 0;
  #state: "relaying" | "skipping" | "holding" | "released" = "relaying";

  constructor(inspect: (frame: Buffer) => FrameVerdict) {
    this.#inspect = inspect;
  }

  /** Returns what may be sent on now. */
  push(chunk: Uint8Array): readonly Buffer[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (this.#state === "released") return [bytes];
    if (this.#state === "holding") {
      this.#keep(bytes);
      return [];
    }
    return this.#relay(bytes);
  }

  /** Bytes that are kept now. */
  get heldBytes(): number {
    return this.#keptBytes;
  }

  /** What was sent on ends with the end of a frame, so that another one may follow it: not within a frame that passes unread, nor in the rest. */
  get isBetweenFrames(): boolean {
    return this.#state === "relaying";
  }

  /** What was not sent on: the held end, or a frame that never ended. Afterwards every byte is passed as it comes. */
  takeRest(): Buffer {
    const rest = Buffer.concat(this.#kept);
    this.#forget();
    this.#state = "released";
    return rest;
  }

  #relay(bytes: Buffer): readonly Buffer[] {
    const passed: Buffer[] = [];
    const pass = (start: number, end: number): void => void (end > start && passed.push(bytes.subarray(start, end)));
    let passStart = 0;
    let frameStart = 0;
    for (let frameEnd = this.#findFrameEnd(bytes, 0); frameEnd >= 0; frameEnd = this.#findFrameEnd(bytes, frameStart)) {
      const wasKept = this.#kept.length > 0;
      const frame = wasKept ? Buffer.concat([...this.#kept, bytes.subarray(frameStart, frameEnd)]) : bytes.subarray(frameStart, frameEnd);
      const verdict = this.#state === "skipping" ? "pass" : this.#inspect(frame);
      this.#forget();
      this.#state = "relaying";
      if (verdict === "hold") {
        pass(passStart, frameStart);
        this.#state = "holding";
        this.#keep(frame);
        this.#keep(bytes.subarray(frameEnd));
        return passed;
      }
      if (verdict === "drop" || wasKept) {
        pass(passStart, frameStart);
        if (verdict === "pass") passed.push(frame);
        passStart = frameEnd;
      }
      frameStart = frameEnd;
    }
    if (this.#state === "skipping") frameStart = bytes.length;
    pass(passStart, frameStart);
    this.#keep(bytes.subarray(frameStart));
    return this.#keptBytes > MAX_FRAME_BYTES ? [...passed, this.#skip()] : passed;
  }

  /** The index after the next blank line, or -1; the state of a line that goes on in the next chunk is remembered. */
  #findFrameEnd(bytes: Buffer, from: number): number {
    let lineStart = from;
    for (let newline = bytes.indexOf(LINE_FEED, from); newline >= 0; newline = bytes.indexOf(LINE_FEED, lineStart)) {
      const length = this.#lineLength + newline - lineStart;
      const before = newline > lineStart ? bytes[newline - 1] : this.#lastByte;
      this.#lineLength = 0;
      lineStart = newline + 1;
      if (length === 0 || (length === 1 && before === CARRIAGE_RETURN)) return lineStart;
    }
    this.#lineLength += bytes.length - lineStart;
    this.#lastByte = bytes.at(-1) ?? this.#lastByte;
    return -1;
  }

  #skip(): Buffer {
    const unread = Buffer.concat(this.#kept);
    this.#forget();
    this.#state = "skipping";
    return unread;
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#kept.push(Buffer.from(bytes));
    this.#keptBytes += bytes.length;
  }

  #forget(): void {
    this.#kept = [];
    this.#keptBytes = 0;
  }
}

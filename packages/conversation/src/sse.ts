import { AppError } from "@proliferate/shared/errors";
import { type JsonObject, parseObject } from "./json.ts";

/** A frame beyond this is no frame of an answer. */
const MOST_FRAME_BYTES = 8 * 1024 * 1024;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** A frame with the name of its event. */
export function eventFrame(event: string, data: JsonObject): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** A frame of data alone. */
export function dataFrame(data: JsonObject): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

/** Cuts a stream into its frames wherever the network cut it. Holds the unfinished frame alone, up to 8 MB. */
export class FrameData {
  #kept: Buffer[] = [];
  #keptBytes = 0;
  /** Length of the line that is not over, and its last byte. */
  #lineLength = 0;
  #lastByte = 0;

  /** The objects of the frames that are complete now; undefined for `[DONE]` and what is no object. Throws `provider_answer_too_large`. */
  push(chunk: Uint8Array): readonly (JsonObject | undefined)[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const frames: (JsonObject | undefined)[] = [];
    let start = 0;
    let lineStart = 0;
    for (let newline = bytes.indexOf(LINE_FEED); newline >= 0; newline = bytes.indexOf(LINE_FEED, lineStart)) {
      const length = this.#lineLength + newline - lineStart;
      const before = newline > lineStart ? bytes[newline - 1] : this.#lastByte;
      this.#lineLength = 0;
      lineStart = newline + 1;
      if (length > 0 && !(length === 1 && before === CARRIAGE_RETURN)) continue;
      frames.push(...this.#take(bytes.subarray(start, lineStart)));
      start = lineStart;
    }
    this.#lineLength += bytes.length - lineStart;
    this.#lastByte = bytes.at(-1) ?? this.#lastByte;
    this.#keep(bytes.subarray(start));
    return frames;
  }

  /** Bytes that are held now. */
  get heldBytes(): number {
    return this.#keptBytes;
  }

  #take(end: Buffer): readonly (JsonObject | undefined)[] {
    const text = Buffer.concat([...this.#kept, end]).toString("utf8");
    this.#kept = [];
    this.#keptBytes = 0;
    const data = text
      .split(/\r?\n/)
      .filter((line) => line.startsWith("data:"))
      .map((line) => line.slice("data:".length));
    return data.length === 0 ? [] : [parseObject(data.join("\n"))];
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#keptBytes += bytes.length;
    if (this.#keptBytes > MOST_FRAME_BYTES)
      throw new AppError(
        "provider_answer_too_large",
        `An event of the provider's answer is larger than ${MOST_FRAME_BYTES / 1024 / 1024} MB.`,
      );
    // A copy: the piece that it came in is its owner's.
    this.#kept.push(Buffer.from(bytes));
  }
}

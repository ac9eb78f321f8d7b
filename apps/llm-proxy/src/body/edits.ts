import type { ReadBody } from "../http/read-body.ts";

/** A replacement of the bytes `start` to `end`; an insertion where both are equal. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * The bytes with the edits applied, which do not overlap. In their own memory where there is room behind them, so that a
 * large body is never there twice; the bytes as they were are gone then.
 */
export function applyEdits({ bytes, room }: ReadBody, edits: readonly Edit[]): Buffer {
  // Without what other edits save: they are made one after the other.
  const growth = edits.reduce((sum, { start, end, text }) => sum + Math.max(Buffer.byteLength(text) - (end - start), 0), 0);
  const target = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length + Math.max(room, 0));
  const memory = growth <= room ? target : Buffer.concat([bytes, Buffer.alloc(growth)]);
  let { length } = bytes;
  // From the end, so that the positions of those before stay right.
  for (const { start, end, text } of edits.toSorted((a, b) => b.start - a.start)) {
    const size = Buffer.byteLength(text);
    memory.copyWithin(start + size, end, length);
    memory.write(text, start);
    length += size - (end - start);
  }
  return memory.subarray(0, length);
}

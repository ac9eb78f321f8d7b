import { AppError } from "@proliferate/shared/errors";

/** Where the value of a top-level field stands: bytes `start` (inclusive) to `end` (exclusive). */
export interface FieldPosition {
  readonly start: number;
  readonly end: number;
}

export interface JsonFields {
  readonly fields: ReadonlyMap<string, FieldPosition>;
  /** Position of the closing brace of the object. */
  readonly closingBrace: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;

/**
 * Finds the top-level fields of a JSON object in its bytes, so that one value can be replaced and every other byte stays.
 * The bytes must have passed `JSON.parse` as an object. Throws `invalid_request` on a field that is given twice: parsers
 * disagree which one counts, so what was checked here might not be what the provider reads.
 */
export function findJsonFields(bytes: Uint8Array): JsonFields {
  const fields = new Map<string, FieldPosition>();
  let position = skipSpace(bytes, skipSpace(bytes, 0) + 1);
  while (bytes[position] !== CLOSE_OBJECT) {
    const nameEnd = endOfString(bytes, position);
    const name = JSON.parse(text(bytes, position, nameEnd)) as string;
    if (fields.has(name)) throw new AppError("invalid_request", `The body has the field "${name.slice(0, 64)}" twice.`, { param: name.slice(0, 64) });
    const start = skipSpace(bytes, skipTo(bytes, nameEnd, COLON) + 1);
    const end = endOfValue(bytes, start);
    fields.set(name, { start, end });
    position = skipSpace(bytes, end);
    if (bytes[position] === COMMA) position = skipSpace(bytes, position + 1);
  }
  return { fields, closingBrace: position };
}

/** A replacement of the bytes `start` to `end`; an insertion where both are equal. */
export interface Edit extends FieldPosition {
  readonly text: string;
}

/** The bytes with the edits applied; the same object when there is none. Edits do not overlap. */
export function applyEdits(bytes: Buffer, edits: readonly Edit[]): Buffer {
  if (edits.length === 0) return bytes;
  const parts: Buffer[] = [];
  let position = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    parts.push(bytes.subarray(position, edit.start), Buffer.from(edit.text));
    position = edit.end;
  }
  parts.push(bytes.subarray(position));
  return Buffer.concat(parts);
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let position = from;
  while (isSpace(bytes[position])) position += 1;
  return position;
}

function skipTo(bytes: Uint8Array, from: number, byte: number): number {
  const found = bytes.indexOf(byte, from);
  return found < 0 ? bytes.length : found;
}

/** `from` is an opening quote; returns the position after the closing one. */
function endOfString(bytes: Uint8Array, from: number): number {
  let quote = bytes.indexOf(QUOTE, from + 1);
  while (quote > 0 && isEscaped(bytes, quote)) quote = bytes.indexOf(QUOTE, quote + 1);
  return quote < 0 ? bytes.length : quote + 1;
}

function isEscaped(bytes: Uint8Array, quote: number): boolean {
  let first = quote;
  while (bytes[first - 1] === BACKSLASH) first -= 1;
  return (quote - first) % 2 === 1;
}

function endOfValue(bytes: Uint8Array, from: number): number {
  const first = bytes[from];
  if (first === QUOTE) return endOfString(bytes, from);
  if (first === OPEN_OBJECT || first === OPEN_ARRAY) return endOfNested(bytes, from);
  let position = from;
  while (position < bytes.length && !isSpace(bytes[position]) && bytes[position] !== COMMA && bytes[position] !== CLOSE_OBJECT) position += 1;
  return position;
}

function endOfNested(bytes: Uint8Array, from: number): number {
  let depth = 0;
  let position = from;
  while (position < bytes.length) {
    const byte = bytes[position];
    if (byte === QUOTE) {
      position = endOfString(bytes, position);
      continue;
    }
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth += 1;
    if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) depth -= 1;
    position += 1;
    if (depth === 0) return position;
  }
  return position;
}

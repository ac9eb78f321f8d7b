import { AppError } from "@proliferate/shared/errors";
import { Kind } from "./seen-object.ts";

/** What the grammar of JSON says of single bytes, where a number ends, and how is told what breaks it. */
const LONGEST_NUMBER_BYTES = 1_024;
export const QUOTE = 0x22;
export const COLON = 0x3a;
export const COMMA = 0x2c;
const PLUS = 0x2b;
export const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
export const OPEN_OBJECT = 0x7b;
export const CLOSE_OBJECT = 0x7d;
export const OPEN_LIST = 0x5b;
export const CLOSE_LIST = 0x5d;
export const LETTER_U = 0x75;
export const ESCAPE_LETTERS: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));
export const WORDS: ReadonlyMap<number, { readonly text: string; readonly kind: Kind }> = new Map([
  [0x74, { text: "true", kind: Kind.true }],
  [0x66, { text: "false", kind: Kind.false }],
  [0x6e, { text: "null", kind: Kind.null }],
]);

export const PLAIN = 0;
export const ENDS = 1;
export const ESCAPES = 2;
const FORBIDDEN = 3;
/** What each byte is within a string. */
export const IN_STRING = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === QUOTE ? ENDS : byte === 0x5c ? ESCAPES : byte < 0x20 ? FORBIDDEN : PLAIN,
);

/** The value of each byte as a hexadecimal digit; -1 where it is none. */
const HEX_DIGIT = Int8Array.from({ length: 256 }, (_, byte) => "0123456789abcdef".indexOf(String.fromCharCode(byte).toLowerCase() || "-"));

export function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

export function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** The position after the number that begins at `start`. */
export function endOfNumber(bytes: Buffer, start: number): number {
  let end = start + (bytes[start] === MINUS ? 1 : 0);
  // No digit follows a zero that leads.
  end = bytes[end] === ZERO ? end + 1 : endOfDigits(bytes, end);
  if (bytes[end] === POINT) end = endOfDigits(bytes, end + 1);
  if (bytes[end] === 0x65 || bytes[end] === 0x45) {
    const sign = bytes[end + 1];
    end = endOfDigits(bytes, sign === PLUS || sign === MINUS ? end + 2 : end + 1);
  }
  return end;
}

/** The position after one digit or more. */
function endOfDigits(bytes: Buffer, start: number): number {
  let end = start;
  while (isDigit(bytes[end] ?? 0)) end += 1;
  if (end === start) throw notJson();
  if (end - start > LONGEST_NUMBER_BYTES) throw tooMuch("a number that is too long");
  return end;
}

/** The value of four hexadecimal digits; -1 where there are none. */
export function hexAt(bytes: Buffer, start: number): number {
  let value = 0;
  for (let position = start; position < start + 4; position += 1) {
    const digit = HEX_DIGIT[bytes[position] ?? 0] ?? -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/** The text itself stays here: a body is never quoted. */
export function notJson(message = "The body is not JSON."): AppError {
  return new AppError("invalid_json", message);
}

export function tooMuch(what: string): AppError {
  return new AppError("invalid_request", `The body has ${what}.`);
}

/** More digits, or a larger power, than a number of JavaScript holds. */
const LONG_NUMBER = /\d{16}|\d[eE][+-]?\d{2}/;

/** `context` of a reviver, as ECMAScript has it and TypeScript's library does not yet. */
type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;
const { rawJSON, isRawJSON } = JSON as unknown as {
  readonly rawJSON: (text: string) => unknown;
  readonly isRawJSON: (value: unknown) => value is { readonly rawJSON: string };
};

/** A JSON object; what is under a name that it has not is undefined. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The one field that the text of a free-form tool stands in where a dialect's tools take objects alone. */
export const FREEFORM_FIELD = "input";

/** Whether a value is an object, and neither a list, null nor a number whose digits are kept. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isRawJSON(value);
}

/** An object, or undefined for every other value. */
export function objectOf(value: unknown): JsonObject | undefined {
  return isObject(value) ? value : undefined;
}

/** The objects of a list; an empty one for every other value. */
export function objectsOf(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** A text, the empty one included, or undefined for every other value. */
export function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** A text with something in it, or undefined. */
export function filledText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

const keepDigits: Reviver = (_key, value, { source }) =>
  typeof value === "number" && source !== undefined && String(value) !== source ? rawJSON(source) : value;

/**
 * As `JSON.parse`; a number that JavaScript would round stays as it is written, so that writing it again changes no digit. Throws
 * `SyntaxError`.
 */
export function parseExact(text: string): unknown {
  if (!LONG_NUMBER.test(text)) return JSON.parse(text);
  return JSON.parse(text, keepDigits as Parameters<typeof JSON.parse>[1]);
}

/** A number, rounded where {@link parseExact} kept its digits; undefined for every other value. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return isRawJSON(value) ? Number(value.rawJSON) : undefined;
}

/** The object that a text says; undefined where it is broken or says something else. */
export function parseObject(text: string): JsonObject | undefined {
  try {
    return objectOf(parseExact(text));
  } catch {
    return undefined;
  }
}

/** Only the members that have a value. */
export function present<Value extends object>(object: Value): Value {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Value;
}

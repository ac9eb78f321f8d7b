import { z } from "zod";

/** How deep what a caller sends may be nested: deeper than anybody's data, far from where a reader's stack ends. */
export const MAX_JSON_DEPTH = 32;

/** True for text that PostgreSQL can hold and UTF-8 can carry: no NUL, no half of a surrogate pair. */
export const isStorableText = (text: string): boolean => !text.includes("\0") && text.isWellFormed();

/** Text of a caller that ends in a row, a header or a file's name. */
export const storableText = z.string().refine(isStorableText, "must have no NUL character and no half of a surrogate pair");

/** What is wrong with a value that a caller sent. */
export interface UnstorableValue {
  /** Keys and indexes that lead to it, at most {@link MAX_JSON_DEPTH}. */
  readonly path: readonly (string | number)[];
  readonly problem: string;
}

/**
 * The first place of a parsed JSON value that could not be stored or written again: text that is no {@link isStorableText},
 * as a key too, or nesting beyond {@link MAX_JSON_DEPTH}. Walks without recursion, so that no input can end its stack; takes
 * time linear in the value. Undefined where there is none.
 */
export function findUnstorable(value: unknown): UnstorableValue | undefined {
  const waiting: { readonly value: unknown; readonly path: readonly (string | number)[] }[] = [{ value, path: [] }];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    if (typeof place.value === "string" && !isStorableText(place.value))
      return { path: place.path, problem: "must have no NUL character and no half of a surrogate pair" };
    if (typeof place.value !== "object" || place.value === null) continue;
    if (place.path.length >= MAX_JSON_DEPTH)
      return { path: place.path.slice(0, 1), problem: `must be nested at most ${MAX_JSON_DEPTH} deep` };
    const entries: readonly (readonly [string | number, unknown])[] = Array.isArray(place.value)
      ? place.value.map((item, index) => [index, item] as const)
      : Object.entries(place.value);
    for (const [key, item] of entries) {
      if (typeof key === "string" && !isStorableText(key))
        return { path: place.path, problem: "must have no NUL character and no half of a surrogate pair in a name" };
      waiting.push({ value: item, path: [...place.path, key] });
    }
  }
  return undefined;
}

/** An object of the caller's own, kept beside what it describes and answered with it: at most `maxBytes` as JSON. */
export const callersObject = (maxBytes: number) =>
  z.record(storableText, z.unknown()).superRefine((value, context) => {
    const found = findUnstorable(value);
    if (found !== undefined) context.addIssue({ code: "custom", message: found.problem, path: [...found.path] });
    else if (Buffer.byteLength(JSON.stringify(value)) > maxBytes)
      context.addIssue({ code: "custom", message: `must take at most ${maxBytes} bytes as JSON` });
  });

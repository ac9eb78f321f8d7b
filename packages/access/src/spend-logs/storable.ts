/**
 * Text and counts of callers and providers as PostgreSQL's columns take them. Everything that comes from outside goes
 * through here before it stands in a row, so that nothing that anybody says can make a row impossible.
 */

/** The largest `integer` of PostgreSQL: LiteLLM's token columns are of that type. */
export const MOST_COLUMN_TOKENS = 2_147_483_647;

const REPLACEMENT = "\uFFFD";

/** Without NUL (neither `text` nor `jsonb` holds it) and without halves of surrogate pairs, and not longer than `most` characters. */
export function storableText(text: string, most = 256): string {
  return text.slice(0, most).toWellFormed().replaceAll("\u0000", REPLACEMENT);
}

/** A count as an `integer` column takes it: clamped, never refused. */
export function storableCount(count: number): number {
  return Math.max(-MOST_COLUMN_TOKENS, Math.min(MOST_COLUMN_TOKENS, Math.trunc(count)));
}

/**
 * A JSON value as `jsonb` takes it: all its texts and keys storable, and what nests deeper than `mostDepth` cut to null.
 * The size is the caller's to bound.
 */
export function storableJson(value: unknown, mostDepth = 16): unknown {
  if (typeof value === "string") return storableText(value, 4_096);
  if (typeof value !== "object" || value === null) return value;
  if (mostDepth === 0) return null;
  if (Array.isArray(value)) return value.map((item) => storableJson(item, mostDepth - 1));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [storableText(key), storableJson(item, mostDepth - 1)]));
}

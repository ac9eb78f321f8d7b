import { AppError } from "@proliferate/shared/errors";

/** Deeper than anything that a key or team is described by. */
const MOST_DEPTH = 64;

/**
 * Refuses what PostgreSQL cannot hold: NUL and halves of surrogate pairs, in any text or name at any depth, and what is nested
 * too deep to be looked through. Throws `invalid_request`, naming the place.
 */
export function requireStorable(value: unknown, place = "", depth = 0): void {
  if (typeof value === "string") return requireStorableText(value, place);
  if (typeof value !== "object" || value === null) return;
  if (depth === MOST_DEPTH) throw refused(place, `is nested deeper than ${MOST_DEPTH} levels`);
  for (const [name, item] of Object.entries(value)) {
    requireStorableText(name, place);
    requireStorable(item, place === "" ? name : `${place}.${name}`, depth + 1);
  }
}

function requireStorableText(text: string, place: string): void {
  if (text.includes("\u0000")) throw refused(place, "contains the character U+0000, which cannot be stored");
  if (!text.isWellFormed()) throw refused(place, "contains half of a surrogate pair, which is no character");
}

function refused(place: string, why: string): AppError {
  const param = place.slice(0, 64).toWellFormed() || "body";
  return new AppError("invalid_request", `${param} ${why}.`, { param });
}

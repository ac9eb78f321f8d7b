import { MOST_MODEL_NAME_CHARACTERS, MOST_STARS_OF_PATTERN } from "@proliferate/shared/contracts";

/**
 * Whether a pattern stands for a name: `*` for any text, also none, and every other character for itself, case included. Each piece
 * between two stars is looked for once, from left to right, and no choice is ever taken back. A pattern or name that is longer than the
 * contract takes stands for nothing: another program may have written it.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  if (pattern.length > MOST_MODEL_NAME_CHARACTERS || name.length > MOST_MODEL_NAME_CHARACTERS) return false;
  const pieces = pattern.split("*");
  if (pieces.length - 1 > MOST_STARS_OF_PATTERN) return false;
  const [first = "", ...rest] = pieces;
  const last = rest.pop();
  if (last === undefined) return pattern === name;
  const end = name.length - last.length;
  if (end < first.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let position = first.length;
  for (const piece of rest) {
    const found = name.indexOf(piece, position);
    if (found < 0 || found + piece.length > end) return false;
    position = found + piece.length;
  }
  return true;
}

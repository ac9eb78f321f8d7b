import type { Part, Turn } from "./conversation.ts";

/** Turns of which no two of one role follow each other. */
export function mergedTurns(turns: readonly Turn[]): readonly Turn[] {
  const merged: { readonly role: Turn["role"]; readonly parts: Part[] }[] = [];
  for (const { role, parts } of turns) {
    const last = merged.at(-1);
    if (last?.role === role) last.parts.push(...parts);
    else merged.push({ role, parts: [...parts] });
  }
  return merged;
}

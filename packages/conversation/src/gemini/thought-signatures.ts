import type { Part } from "../conversation.ts";
import { GEMINI } from "./name.ts";

/**
 * Gemini signs what follows a thought: a call, or words. In the neutral conversation the signature is that of a hidden thought, and its id says
 * what it goes back to; a dialect that gathers thoughts before everything else does not move it to another part.
 */
export const SIGNED_TEXT = "text";

/** Where the signature of a call goes back to: calls of one answer are numbered. */
export function placeOfCall(index: number): string {
  return `call:${index}`;
}

/** Signatures of Gemini's own by the place that they go back to. */
export function placedSignatures(parts: readonly Part[]): ReadonlyMap<string, string> {
  return new Map(
    parts.flatMap((part) => {
      const signature = part.kind === "thinking" ? part.signature : undefined;
      return signature?.origin === GEMINI && signature.id !== undefined ? [[signature.id, signature.value] as const] : [];
    }),
  );
}

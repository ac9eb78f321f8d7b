import type { Signature } from "./conversation.ts";
import { filledText, parseObject } from "./json.ts";

/**
 * A thought that one dialect signed travels through callers of another one under that one's own field for signatures, marked with where it
 * comes from; so it comes back to its maker, and to nobody else. Native signatures stay as they are.
 */
const MARK = "gateway-signature:";

/** The text that a caller of the dialect `own` keeps for us. */
export function sealSignature({ origin, value, id }: Signature, own: string): string {
  if (origin === own) return value;
  return `${MARK}${origin}:${Buffer.from(JSON.stringify({ value, id })).toString("base64url")}`;
}

/** What {@link sealSignature} made, or a signature of the dialect's own. Undefined where the mark is there and nothing that can be read behind it. */
export function openSignature(text: string, own: string): Signature | undefined {
  if (!text.startsWith(MARK)) return { origin: own, value: text };
  const [origin = "", sealed = ""] = text.slice(MARK.length).split(":");
  const object = parseObject(Buffer.from(sealed, "base64url").toString("utf8"));
  const value = object?.["value"];
  if (typeof value !== "string" || origin === "") return undefined;
  return { origin, value, id: filledText(object?.["id"]) };
}

import { createHash, randomBytes } from "node:crypto";
import { AppError } from "@proliferate/shared/errors";
import { CALLER_KINDS, type CallerKind, kindOfCredential } from "../principals/index.ts";

/** Who made what the master key made; LiteLLM's id for its proxy administrator. */
export const ADMIN_USER_ID = "default_user_id";

/** SHA-256 in hex of the whole key: the only form in which a key is stored, logged or joined. */
export function hashKey(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

/** What a caller names a key by: the key itself, or its hash as LiteLLM also takes it. */
export function hashOfKeyOrHash(keyOrHash: string): string {
  return kindOfCredential(keyOrHash) ? hashKey(keyOrHash) : keyOrHash;
}

/** A new key of 256 random bits. */
export function makeKey({ prefix }: CallerKind = CALLER_KINDS[0]): string {
  return `${prefix}${randomBytes(32).toString("base64url")}`;
}

/** The key that a caller chose for itself. Throws `invalid_request` where it is none of this kind. */
export function requireKeyOf({ prefix }: CallerKind, key: string, param: string): string {
  if (key.startsWith(prefix) && /^[\x21-\x7e]{8,}$/.test(key.slice(prefix.length))) return key;
  throw new AppError("invalid_request", `${param} must start with ${prefix} and go on with 8 printable characters or more.`, { param });
}

/** `sk-...` and the last four characters: what may be shown of a key. */
export function abbreviateKey(key: string): string {
  return `${kindOfCredential(key)?.prefix ?? ""}...${key.slice(-4)}`;
}

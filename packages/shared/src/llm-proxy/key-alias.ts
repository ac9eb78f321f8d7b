import { createHash, randomBytes } from "node:crypto";

/** Legal in LiteLLM's alias alphabet as it stands. No slash: the slash separates what is added here. */
const plainSessionId = /^[a-zA-Z0-9][a-zA-Z0-9_.@-]{0,198}[a-zA-Z0-9]$/;

/**
 * The alias of a session's key: the session id itself where LiteLLM allows it, else `sha256/<hex>`. Two sessions never
 * share one. The key is always found by `user_id`, so the alias need not be read back.
 */
export function sessionKeyAlias(sessionId: string): string {
  return plainSessionId.test(sessionId) ? sessionId : `sha256/${createHash("sha256").update(sessionId).digest("hex")}`;
}

/** An alias that no other key has, for the moment in which a session has its old key and its new one. */
export function temporaryKeyAlias(sessionId: string): string {
  return `${sessionKeyAlias(sessionId)}/${randomBytes(8).toString("hex")}`;
}

/** A virtual key: `sk-` and 256 random bits. Chosen here, so that minting can be repeated without making a second key. */
export function randomVirtualKey(): string {
  return `sk-${randomBytes(32).toString("base64url")}`;
}

/** How LiteLLM names a key wherever the key itself must not stand: the SHA-256 of the whole key, in hex. */
export function hashVirtualKey(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

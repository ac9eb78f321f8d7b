import { createHash } from "node:crypto";

/**
 * The name of a session's sandbox: the session id where it is 1 to 60 characters of `A-Za-z0-9._-` and begins with a letter
 * or digit, else `session-` and 40 hex digits of its SHA-256. Fits Modal's object names and one path segment. Pure.
 */
export function sandboxName(sessionId: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$/.test(sessionId) && !/^(ap-[A-Za-z0-9]{22}|session-[0-9a-f]{40})$/.test(sessionId))
    return sessionId;
  return `session-${createHash("sha256").update(sessionId).digest("hex").slice(0, 40)}`;
}

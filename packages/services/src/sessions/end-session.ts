import { AppError } from "@proliferate/shared/errors";
import { requestFlush } from "../billing/settlement-circuit-db.ts";
import { markSessionEnded, markSessionEnding, type SessionRow } from "./db.ts";
import type { SessionDependencies } from "./start-session.ts";

/**
 * Ends a session, revokes every key that the proxy knows under its id, and has the org's usage settled at once. Idempotent:
 * ending again revokes again, so a key that a crash left behind goes too. Throws `session_not_found`, or what the proxy
 * client throws; then the session stays `ending`, accepts no key, and the call may be repeated.
 */
export async function endSession({ db, keys, admission }: SessionDependencies, sessionId: string): Promise<SessionRow> {
  if (!(await markSessionEnding(db, sessionId))) throw new AppError("session_not_found", `There is no session ${sessionId}.`);
  await keys.revokeAll(sessionId);
  await admission?.release(sessionId);
  const ended = await markSessionEnded(db, sessionId);
  if (!ended) throw new AppError("session_not_found", `Session ${sessionId} was removed while it ended.`);
  await requestFlush(db, ended.org_id);
  return ended;
}

import { AppError } from "@proliferate/shared/errors";
import { requestFlush } from "../billing/settlement-circuit-db.ts";
import { markSessionEnded, markSessionEnding, type SessionRow } from "./db.ts";
import { insertEndedEvent } from "./sandbox-db.ts";
import type { SessionDependencies } from "./start-session.ts";

/**
 * Ends a session: every key that the proxy knows under its id is revoked, its sandbox ended, its usage settled at once.
 * Idempotent: ending again revokes again, so what a crash left behind goes too. Throws `session_not_found`, or what the
 * proxy client or the launcher throws; then the session stays `ending`, accepts no key, and the call may be repeated.
 */
export async function endSession(deps: SessionDependencies, sessionId: string): Promise<SessionRow> {
  const end = (): Promise<SessionRow> => endNow(deps, sessionId);
  return deps.sandboxes ? deps.sandboxes.atWork(sessionId, end) : end();
}

async function endNow({ db, keys, admission, sandboxes, instanceId }: SessionDependencies, sessionId: string): Promise<SessionRow> {
  const ending = await markSessionEnding(db, sessionId, instanceId);
  if (!ending) throw new AppError("session_not_found", `There is no session ${sessionId}.`);
  await sandboxes?.reach("ending", sessionId);
  // Keys first: whatever fails afterwards, nothing more is spent.
  await keys.revokeAll(sessionId);
  await sandboxes?.reach("keys_revoked", sessionId);
  if (ending.launcher !== "none") await requireSandboxes(sandboxes, ending).remove(ending);
  await sandboxes?.reach("sandbox_removed", sessionId);
  await admission?.release(sessionId);
  await requestFlush(db, ending.org_id);
  await sandboxes?.reach("released", sessionId);
  // Together: a reader who sees the end has seen its event.
  const ended = await db.transaction().execute(async (tx) => {
    await insertEndedEvent(tx, sessionId);
    return markSessionEnded(tx, sessionId);
  });
  if (!ended) throw new AppError("session_not_found", `Session ${sessionId} was removed while it ended.`);
  return ended;
}

function requireSandboxes(sandboxes: SessionDependencies["sandboxes"], { session_id: sessionId, launcher }: SessionRow): NonNullable<SessionDependencies["sandboxes"]> {
  if (sandboxes) return sandboxes;
  throw new AppError("launcher_not_configured", `The sandbox of session ${sessionId} was made by the launcher ${launcher}, which this gateway does not have.`);
}

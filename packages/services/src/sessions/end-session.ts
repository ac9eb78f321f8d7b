import { AppError } from "@proliferate/shared/errors";
import { requestFlush } from "../settlement/index.ts";
import { findSession, markSessionEnded, markSessionEnding, type SessionRow } from "./db.ts";
import type { LaunchDependencies } from "./launch-session.ts";
import { insertEndedEvent } from "./sandbox-db.ts";
import { DeadlineExceeded, withDeadline } from "@proliferate/shared/sandbox";
import type { SessionDependencies } from "./start-session.ts";

/**
 * Ends a session: every key that the proxy knows under its id is revoked, its sandbox ended, its usage settled at once.
 * Idempotent: ending again revokes again, so what a crash left behind goes too. Throws `session_not_found`, or what the
 * proxy client or the launcher throws; then the session stays `ending`, accepts no key, and the call may be repeated.
 * Throws `launcher_not_configured`, and changes nothing, where this gateway has not the session's launcher.
 */
export async function endSession(deps: SessionDependencies, sessionId: string): Promise<SessionRow> {
  const end = (): Promise<SessionRow> => endNow(deps, sessionId);
  return deps.sandboxes ? deps.sandboxes.atWork(sessionId, end) : end();
}

/**
 * As {@link endSession}, but answers after `waitMs` at the latest, with the session as it is then: `ending` where the launcher
 * or the proxy takes longer. The end goes on; where it fails, `onProblem` is told, and the reaper ends the session.
 */
export async function endSessionWithin(
  deps: SessionDependencies & Pick<LaunchDependencies, "onProblem">,
  sessionId: string,
  waitMs: number,
): Promise<SessionRow> {
  const ending = endSession(deps, sessionId);
  deps.sandboxes?.track(ending);
  try {
    return await withDeadline(ending, waitMs);
  } catch (error) {
    if (!(error instanceof DeadlineExceeded)) throw error;
    ending.catch((left: unknown) => deps.onProblem?.({ sessionId, message: (left as Error).message }));
    const session = await findSession(deps.db, sessionId);
    if (!session) throw new AppError("session_not_found", `There is no session ${sessionId}.`);
    return session;
  }
}

async function endNow({ db, keys, admission, sandboxes, instanceId }: SessionDependencies, sessionId: string): Promise<SessionRow> {
  const ending = await markSessionEnding(db, sessionId, instanceId, sandboxes?.launchers ?? []);
  if (!ending) throw await notTaken(db, sandboxes, sessionId);
  await sandboxes?.reach("ending", sessionId);
  // Keys first: whatever fails afterwards, nothing more is spent.
  await keys.revokeAll(sessionId);
  await sandboxes?.reach("keys_revoked", sessionId);
  if (ending.launcher !== "none") await requireSandboxes(sandboxes, ending).remove(ending);
  await sandboxes?.reach("sandbox_removed", sessionId);
  await admission?.release(sessionId);
  await requestFlush(db, ending.org_id);
  await sandboxes?.reach("released", sessionId);
  // State and event are written in one transaction. A reader who sees the session ended also finds the event `ended`.
  const ended = await db.transaction().execute(async (tx) => {
    await insertEndedEvent(tx, sessionId);
    return markSessionEnded(tx, sessionId);
  });
  if (!ended) throw new AppError("session_not_found", `Session ${sessionId} was removed while it ended.`);
  return ended;
}

/** Why the session was not marked: it is none, or another gateway's to end. */
async function notTaken(db: SessionDependencies["db"], sandboxes: SessionDependencies["sandboxes"], sessionId: string): Promise<AppError> {
  const session = await findSession(db, sessionId);
  if (session) requireSandboxes(sandboxes, session).provider(session.launcher);
  return new AppError("session_not_found", `There is no session ${sessionId}.`);
}

function requireSandboxes(
  sandboxes: SessionDependencies["sandboxes"],
  { session_id: sessionId, launcher }: SessionRow,
): NonNullable<SessionDependencies["sandboxes"]> {
  if (sandboxes) return sandboxes;
  throw new AppError(
    "launcher_not_configured",
    `The sandbox of session ${sessionId} was made by the launcher ${launcher}, which this gateway does not have.`,
  );
}

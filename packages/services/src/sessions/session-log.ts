import { isAppError } from "@proliferate/shared/errors";
import { readAgentLog } from "@proliferate/shared/sandbox";
import { findSession } from "./db.ts";
import { type LaunchDependencies, notInState } from "./launch-session.ts";

/**
 * The end of what the agent of a session has written to stdout and stderr, `maxBytes` of it at most. Throws
 * `session_not_found`, `session_not_ready` (it has no sandbox just now) and what the launcher throws.
 */
export async function readSessionLog(deps: LaunchDependencies, sessionId: string, maxBytes: number): Promise<string> {
  const session = await findSession(deps.db, sessionId);
  if (session?.state !== "active" || session.launcher === "none") throw await notInState(deps, sessionId, "in a sandbox");
  try {
    const sandbox = await deps.sandboxes.provider(session.launcher).find(sessionId);
    try {
      return await readAgentLog(sandbox, maxBytes);
    } finally {
      sandbox.release();
    }
  } catch (error) {
    if (isAppError(error, "sandbox_not_found")) throw await notInState(deps, sessionId, "in a sandbox");
    throw error;
  }
}

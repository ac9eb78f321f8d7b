import { isAppError } from "@proliferate/shared/errors";
import { requestFlush } from "../settlement/index.ts";
import type { SessionRow } from "./db.ts";
import { type LaunchDependencies, notInState } from "./launch-session.ts";
import { insertSessionEvent, markPaused, moveSandbox, writeSessionFailure, writeSnapshot } from "./sandbox-db.ts";

/**
 * Puts a session to rest: snapshot of its home directory, key revoked, sandbox ended, usage settled. Throws
 * `session_not_found`, `session_not_ready` (not ready, or another call was first) and what the launcher throws: before the
 * snapshot the session is `ready` again, after it the reaper finishes the pause. With a `failure` it rests because of that, which
 * its row and its event `failed` say.
 */
export async function pauseSession(deps: LaunchDependencies, sessionId: string, failure?: PauseFailure): Promise<SessionRow> {
  return deps.sandboxes.atWork(sessionId, () => pauseNow(deps, sessionId, failure));
}

interface PauseFailure {
  readonly code: string;
  readonly message: string;
  /** Further facts of the event. */
  readonly facts: Readonly<Record<string, unknown>>;
}

async function pauseNow(deps: LaunchDependencies, sessionId: string, failure: PauseFailure | undefined): Promise<SessionRow> {
  const pausing = await moveSandbox(deps.db, sessionId, {
    from: "ready",
    to: "pausing",
    step: "pausing",
    instanceId: deps.instanceId,
    launchers: deps.sandboxes.launchers,
  });
  if (!pausing) throw await notInState(deps, sessionId, "ready");
  if (failure) {
    const { facts, ...reason } = failure;
    await writeSessionFailure(deps.db, sessionId, reason);
    await deps.sandboxes.note(pausing, "failed", { ...reason, ...facts });
  }
  await deps.sandboxes.note(pausing, "pausing");
  const provider = deps.sandboxes.provider(pausing.launcher);
  let snapshotId: string;
  try {
    const sandbox = await provider.find(sessionId);
    try {
      snapshotId = await sandbox.snapshot();
    } finally {
      sandbox.release();
    }
  } catch (error) {
    // A sandbox that is gone is found by the reaper, which ends the session.
    await moveSandbox(deps.db, sessionId, {
      from: "pausing",
      to: "ready",
      step: "ready",
      instanceId: null,
      launchers: deps.sandboxes.launchers,
    });
    throw error;
  }
  await deps.sandboxes.reach("snapshot_taken", sessionId);
  if (!(await writeSnapshot(deps.db, sessionId, snapshotId))) {
    await provider.deleteSnapshot(snapshotId);
    throw await notInState(deps, sessionId, "pausing");
  }
  await deps.sandboxes.note(pausing, "snapshotted");
  if (pausing.snapshot_id !== null) await provider.deleteSnapshot(pausing.snapshot_id).catch(() => undefined);
  return finishPause(deps, pausing);
}

/** The way from a recorded snapshot to rest. Idempotent; also what the reaper does for a pause that a crash broke off. */
export async function finishPause(deps: LaunchDependencies, pausing: SessionRow): Promise<SessionRow> {
  const sessionId = pausing.session_id;
  // The key is revoked before the snapshot is taken. What the agent does later is not in the snapshot, and nobody shall pay for it.
  await deps.keys.revokeAll(sessionId);
  await deps.sandboxes.reach("pause_revoked", sessionId);
  await deps.sandboxes.terminate(pausing);
  await deps.admission?.release(sessionId);
  await requestFlush(deps.db, pausing.org_id);
  await deps.sandboxes.reach("pause_released", sessionId);
  const paused = await deps.db.transaction().execute(async (tx) => {
    const row = await markPaused(tx, sessionId);
    if (row) await insertSessionEvent(tx, sessionId, "paused");
    return row;
  });
  if (!paused) throw await notInState(deps, sessionId, "pausing");
  return paused;
}

/** True when the session's sandbox runs. */
export async function hasSandbox(deps: LaunchDependencies, session: SessionRow): Promise<boolean> {
  try {
    (await deps.sandboxes.provider(session.launcher).find(session.session_id)).release();
    return true;
  } catch (error) {
    if (isAppError(error, "sandbox_not_found")) return false;
    throw error;
  }
}

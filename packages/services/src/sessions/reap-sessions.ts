import { isAppError } from "@proliferate/shared/errors";
import { agentIsClosed, sandboxName } from "@proliferate/shared/sandbox";
import { withDeadInstance } from "../attempts/db.ts";
import { findSession, hasSpendLogs, type SessionRow } from "./db.ts";
import { endSession } from "./end-session.ts";
import { deleteOldRequests } from "./idempotency-db.ts";
import type { LaunchDependencies } from "./launch-session.ts";
import { finishPause, hasSandbox } from "./pause-session.ts";
import { markPaused, moveSandbox, selectEndedWithKeys, selectExpiredSessions, selectLaunched, selectUnfinished, writeLaunchFailure } from "./sandbox-db.ts";

export interface ReapOptions {
  /** How long a call may take before what it left counts as abandoned, though its gateway lives or nobody knows which it was. Default 60 s. */
  readonly abandonedMs?: number;
  /** Told of each session that could not be repaired; the next pass tries again. */
  readonly onProblem?: (problem: { readonly sessionId: string; readonly code: string; readonly message: string }) => void;
}

/** What one pass did. */
export interface ReapResult {
  /** Launches that were completed, pauses that were finished or taken back. */
  completed: number;
  /** Sessions that were ended: their launch was interrupted, their time over, their sandbox gone, or their end had stopped halfway. */
  ended: number;
  /** Sandboxes that no session knew. */
  sandboxes: number;
  /** Snapshots that no session knew. */
  snapshots: number;
  /** Ended sessions that still had a key. */
  keys: number;
}

/**
 * Completes or cleans up what dead gateways left, and makes sessions, sandboxes and keys agree. Each repair is idempotent,
 * so passes may overlap, in one gateway or several. One session's failure hides no other's.
 */
export async function reapSessions(deps: LaunchDependencies, options: ReapOptions = {}): Promise<ReapResult> {
  const { abandonedMs = 60_000 } = options;
  const result: ReapResult = { completed: 0, ended: 0, sandboxes: 0, snapshots: 0, keys: 0 };
  const attempt = async (sessionId: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      options.onProblem?.({ sessionId, code: isAppError(error) ? error.code : "internal_error", message: (error as Error).message });
    }
  };
  for (const session of await selectUnfinished(deps.db)) {
    await attempt(session.session_id, () => withOwnerGone(deps, session, abandonedMs, async () => {
      const outcome = await repair(deps, session, abandonedMs);
      if (outcome !== "nothing") result[outcome] += 1;
    }));
  }
  for (const sessionId of await selectExpiredSessions(deps.db)) {
    await attempt(sessionId, async () => void (await endSession(deps, sessionId), (result.ended += 1)));
  }
  for (const launcher of deps.sandboxes.launchers) {
    await attempt(`of the launcher ${launcher}`, async () => {
      result.sandboxes += await endUnknownSandboxes(deps, launcher);
      result.ended += await endSessionsWithoutSandbox(deps, launcher);
      result.snapshots += await deleteUnknownSnapshots(deps, launcher);
    });
  }
  if (await hasSpendLogs(deps.db)) {
    for (const sessionId of await selectEndedWithKeys(deps.db)) {
      await attempt(sessionId, async () => void (await deps.keys.revokeAll(sessionId), (result.keys += 1)));
    }
  }
  await deleteOldRequests(deps.db);
  return result;
}

/** Does the work when nobody else does: the gateway that was at it is dead, or it is this one and has given up. */
async function withOwnerGone(deps: LaunchDependencies, session: SessionRow, abandonedMs: number, work: () => Promise<void>): Promise<void> {
  const owner = session.instance_id;
  if (owner !== null && owner !== deps.instanceId) {
    await withDeadInstance(deps.db, owner, work);
    return;
  }
  if (!deps.sandboxes.isAtWork(session.session_id) && isOlder(session, abandonedMs)) await work();
}

const isOlder = (session: SessionRow, ageMs: number): boolean => Date.now() - session.changed_at.getTime() >= ageMs;

type Outcome = "completed" | "ended" | "nothing";

/**
 * One unfinished session, by how far it came. It is read again: since it was listed, another gateway may have repaired it, or
 * its own have finished, and what is finished is nobody's to touch.
 */
async function repair(deps: LaunchDependencies, listed: SessionRow, abandonedMs: number): Promise<Outcome> {
  const session = await findSession(deps.db, listed.session_id);
  if (session === undefined || session.instance_id !== listed.instance_id) return "nothing";
  if (session.state === "ending") return end(deps, session);
  if (session.state === "starting" && session.launcher === "none") return isOlder(session, abandonedMs) ? end(deps, session) : "nothing";
  if (session.state === "ended") return "nothing";
  if (session.sandbox_state === "pausing") return repairPause(deps, session);
  return session.sandbox_state === "launching" ? repairLaunch(deps, session, abandonedMs) : "nothing";
}

async function end(deps: LaunchDependencies, session: SessionRow): Promise<"ended"> {
  await endSession(deps, session.session_id);
  return "ended";
}

/** How long a mint may go on at the proxy after the gateway that asked for it has died. */
const LATE_MINT_MS = 5_000;

async function repairLaunch(deps: LaunchDependencies, session: SessionRow, abandonedMs: number): Promise<Outcome> {
  // A key that came after the repair would be nobody's.
  if (session.sandbox_step === "claimed" && !isOlder(session, Math.min(LATE_MINT_MS, abandonedMs))) return "nothing";
  const agent = await completeLaunch(deps, session);
  if (agent === "answers") return "completed";
  if (agent === "silent" && !isOlder(session, abandonedMs)) return "nothing";
  const failure = { code: "launch_interrupted", message: `The gateway that launched session ${session.session_id} ended at the step ${session.sandbox_step}.` };
  const isNew = await writeLaunchFailure(deps.db, { sessionId: session.session_id, keyGeneration: session.key_generation }, failure);
  if (isNew) await deps.sandboxes.note(session, "failed", failure);
  return session.snapshot_id === null ? end(deps, session) : restAgain(deps, session);
}

/**
 * A launch that only waited for its agent is complete when the agent answers now. Not one with a repository: its token is
 * nowhere stored, so whether the clone is whole cannot be made sure. And not one whose password died with the gateway: nobody
 * could use it, and its org would pay.
 */
async function completeLaunch(deps: LaunchDependencies, session: SessionRow): Promise<"answers" | "silent" | "lost"> {
  if (!session.password_is_kept || session.sandbox_step !== "waiting_for_agent" || (session.repo_url !== null && session.snapshot_id === null)) return "lost";
  const sandbox = await deps.sandboxes.provider(session.launcher).find(session.session_id).catch((error: unknown) => {
    if (isAppError(error, "sandbox_not_found")) return undefined;
    throw error;
  });
  if (!sandbox) return "lost";
  try {
    const [port] = sandbox.ports.values();
    if (!port) return "lost";
    if (!(await agentIsClosed(port.url))) return "silent";
    const ready = await deps.sandboxes.markReady(session, { sandboxId: sandbox.id, url: port.url });
    return ready ? "answers" : "lost";
  } finally {
    sandbox.release();
  }
}

/** A resume that broke off: paused again, with the snapshot that it had. */
async function restAgain(deps: LaunchDependencies, session: SessionRow): Promise<"completed"> {
  await deps.keys.revokeAll(session.session_id);
  await deps.sandboxes.terminate(session);
  await deps.admission?.release(session.session_id);
  await deps.sandboxes.reach("rested", session.session_id);
  await markPaused(deps.db, session.session_id);
  return "completed";
}

/** Forward where there is a copy, else back, as nothing was done to the sandbox yet. */
async function repairPause(deps: LaunchDependencies, session: SessionRow): Promise<Outcome> {
  if (session.sandbox_step === "snapshotted") {
    await finishPause(deps, session);
    return "completed";
  }
  if (await hasSandbox(deps, session)) {
    await moveSandbox(deps.db, session.session_id, { from: "pausing", to: "ready", step: "ready", instanceId: null });
    return "completed";
  }
  return end(deps, session);
}

/** Listed first, sessions afterwards: a sandbox that is seen had its session before. */
async function endUnknownSandboxes(deps: LaunchDependencies, launcher: "local" | "modal"): Promise<number> {
  const provider = deps.sandboxes.provider(launcher);
  const running = await provider.list();
  if (running.length === 0) return 0;
  const known = new Set((await selectLaunched(deps.db, launcher)).map((session) => sandboxName(session.session_id)));
  const unknown = running.filter(({ name }) => !known.has(name));
  for (const { id } of unknown) await provider.terminate(id);
  return unknown.length;
}

/** Sessions first, sandboxes afterwards, and the session once more: one that was paused meanwhile has no sandbox for a good reason. */
async function endSessionsWithoutSandbox(deps: LaunchDependencies, launcher: "local" | "modal"): Promise<number> {
  const ready = (await selectLaunched(deps.db, launcher)).filter((session) => session.state === "active" && session.sandbox_state === "ready" && session.sandbox_id !== null);
  const states = await deps.sandboxes.provider(launcher).checkSandboxes(ready.map((session) => session.sandbox_id ?? ""));
  let ended = 0;
  for (const { session_id: sessionId, sandbox_id: sandboxId } of ready.filter((session) => states.get(session.sandbox_id ?? "") === "ended")) {
    const now = await findSession(deps.db, sessionId);
    if (now?.sandbox_state !== "ready" || now.sandbox_id !== sandboxId) continue;
    await endSession(deps, sessionId);
    ended += 1;
  }
  return ended;
}

/**
 * Snapshots first, sessions afterwards: one that is seen was taken by a session that is pausing, or has it on record, or has
 * let go of it. So what a crash or a failed deletion left is told from what is being made.
 */
async function deleteUnknownSnapshots(deps: LaunchDependencies, launcher: "local" | "modal"): Promise<number> {
  const provider = deps.sandboxes.provider(launcher);
  const snapshots = await provider.listSnapshots();
  if (snapshots.length === 0) return 0;
  const sessions = new Map((await selectLaunched(deps.db, launcher)).map((session) => [sandboxName(session.session_id), session]));
  const unknown = snapshots.filter(({ id, name }) => {
    const session = sessions.get(name);
    return session === undefined || (session.snapshot_id !== id && session.sandbox_state !== "pausing");
  });
  for (const { id } of unknown) await provider.deleteSnapshot(id);
  return unknown.length;
}

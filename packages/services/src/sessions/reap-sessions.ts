import { isAppError } from "@proliferate/shared/errors";
import { agentIsClosed, sandboxName } from "@proliferate/shared/sandbox";
import { withDeadInstance } from "@proliferate/access/requests";
import { findSession, type SessionRow } from "./db.ts";
import { hasSpendLogs } from "@proliferate/access/spend-logs";
import { endSession } from "./end-session.ts";
import { deleteOldRequests } from "./idempotency-db.ts";
import type { LaunchDependencies } from "./launch-session.ts";
import { finishPause, hasSandbox } from "./pause-session.ts";
import type { LauncherName } from "./session-launcher.ts";
import { problemOf, sideBySide } from "./side-by-side.ts";
import {
  markPaused,
  moveSandbox,
  selectEndedWithKeys,
  selectExpiredSessions,
  selectLaunched,
  selectUnfinished,
  writeLaunchFailure,
} from "./sandbox-db.ts";

/** How what dead gateways left is repaired. */
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

/** Each repair is a few calls to the proxy and the launcher, which have limits of their own; beyond this nobody waits for one. */
const SIDE_BY_SIDE = { parallel: 32, limitMs: 15_000 } as const;
/** Each dead gateway's lock takes a connection of the pool while its sessions are repaired. */
const PARALLEL_LOCKS = 3;
/** They are limited one by one below; a timer takes no longer time. */
const UNLIMITED_MS = 2 ** 31 - 1;

/**
 * Completes or cleans up what dead gateways left, and makes sessions, sandboxes and keys agree. Each repair is idempotent,
 * so passes may overlap, in one gateway or several; what an earlier pass is still at is left to it. Repairs go side by side,
 * each with a limit: one session's failure hides no other's, and one that hangs delays none. Touches no session whose
 * launcher this gateway has not.
 */
export async function reapSessions(deps: LaunchDependencies, options: ReapOptions = {}): Promise<ReapResult> {
  const { abandonedMs = 60_000 } = options;
  const result: ReapResult = { completed: 0, ended: 0, sandboxes: 0, snapshots: 0, keys: 0 };
  const failed = (sessionId: string, error: unknown): void => options.onProblem?.({ sessionId, ...problemOf(error) });
  const { launchers } = deps.sandboxes;
  const endAll = (sessionIds: readonly string[]): Promise<void> =>
    sideBySide(
      sessionIds.filter((sessionId) => !deps.sandboxes.isHandled(sessionId)),
      SIDE_BY_SIDE,
      async (sessionId) => void (await endSession(deps, sessionId), (result.ended += 1)),
      failed,
    );
  const compare = async (launcher: LauncherName): Promise<void> => {
    result.sandboxes += await endUnknownSandboxes(deps, launcher);
    await endAll(await selectSessionsWithoutSandbox(deps, launcher));
    result.snapshots += await deleteUnknownSnapshots(deps, launcher);
  };
  // These steps run at the same time. None needs the result of another, and a slow one delays no other.
  await Promise.all([
    repairUnfinished(deps, abandonedMs, (outcome) => (result[outcome] += 1), failed),
    endAll(await selectExpiredSessions(deps.db, launchers)),
    sideBySide(launchers, { parallel: launchers.length, limitMs: COMPARE_LIMIT_MS }, compare, (launcher, error) =>
      failed(`of the launcher ${launcher}`, error),
    ),
  ]);
  if (await hasSpendLogs(deps.db)) {
    await sideBySide(
      await selectEndedWithKeys(deps.db),
      SIDE_BY_SIDE,
      async (sessionId) => void (await deps.keys.revokeAll(sessionId), (result.keys += 1)),
      failed,
    );
  }
  await deleteOldRequests(deps.db);
  return result;
}

/** A listing of everything at a launcher, and what follows from it. */
const COMPARE_LIMIT_MS = 60_000;

type Outcome = "completed" | "ended" | "nothing";

/**
 * What dead gateways left, and what this one has given up. One lock for all sessions of a dead gateway, so that two never repair
 * the same; under it they go side by side.
 */
async function repairUnfinished(
  deps: LaunchDependencies,
  abandonedMs: number,
  done: (outcome: Exclude<Outcome, "nothing">) => void,
  failed: (sessionId: string, error: unknown) => void,
): Promise<void> {
  const byOwner = Map.groupBy(await selectUnfinished(deps.db, deps.sandboxes.launchers), (session) => session.instance_id);
  const repairAll = (sessions: readonly SessionRow[]): Promise<void> =>
    sideBySide(
      sessions.filter((session) => !deps.sandboxes.isAtWork(session.session_id)),
      SIDE_BY_SIDE,
      async (session) => {
        const outcome = await deps.sandboxes.atWork(session.session_id, () => repair(deps, session, abandonedMs));
        if (outcome !== "nothing") done(outcome);
      },
      (session, error) => failed(session.session_id, error),
    );
  const ofOwner = async (owner: number | null): Promise<void> => {
    const sessions = byOwner.get(owner) ?? [];
    if (owner === null || owner === deps.instanceId) await repairAll(sessions.filter((session) => isOlder(session, abandonedMs)));
    else await withDeadInstance(deps.db, owner, () => repairAll(sessions));
  };
  await sideBySide([...byOwner.keys()], { parallel: PARALLEL_LOCKS, limitMs: UNLIMITED_MS }, ofOwner, (owner, error) =>
    failed(`of the gateway ${owner}`, error),
  );
}

const isOlder = (session: SessionRow, ageMs: number): boolean => Date.now() - session.changed_at.getTime() >= ageMs;

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
  // The dead gateway's mint may still arrive at the proxy. A key that came after this repair would belong to no session.
  if (session.sandbox_step === "claimed" && !isOlder(session, Math.min(LATE_MINT_MS, abandonedMs))) return "nothing";
  const agent = await completeLaunch(deps, session);
  if (agent === "answers") return "completed";
  if (agent === "silent" && !isOlder(session, abandonedMs)) return "nothing";
  const failure = {
    code: "launch_interrupted",
    message: `The gateway that launched session ${session.session_id} ended at the step ${session.sandbox_step}.`,
  };
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
  if (
    !session.password_is_kept ||
    session.sandbox_step !== "waiting_for_agent" ||
    (session.repo_url !== null && session.snapshot_id === null)
  )
    return "lost";
  const sandbox = await deps.sandboxes
    .provider(session.launcher)
    .find(session.session_id)
    .catch((error: unknown) => {
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
    await moveSandbox(deps.db, session.session_id, {
      from: "pausing",
      to: "ready",
      step: "ready",
      instanceId: null,
      launchers: deps.sandboxes.launchers,
    });
    return "completed";
  }
  return end(deps, session);
}

/** Listed first, sessions afterwards: a sandbox that is seen had its session before. */
async function endUnknownSandboxes(deps: LaunchDependencies, launcher: LauncherName): Promise<number> {
  const provider = deps.sandboxes.provider(launcher);
  const running = await provider.list();
  if (running.length === 0) return 0;
  const known = new Set((await selectLaunched(deps.db, launcher)).map((session) => sandboxName(session.session_id)));
  const unknown = running.filter(({ name }) => !known.has(name));
  for (const { id } of unknown) await provider.terminate(id);
  return unknown.length;
}

/** Sessions first, sandboxes afterwards, and the session once more: one that was paused meanwhile has no sandbox for a good reason. */
async function selectSessionsWithoutSandbox(deps: LaunchDependencies, launcher: LauncherName): Promise<readonly string[]> {
  const ready = (await selectLaunched(deps.db, launcher)).filter(
    (session) => session.state === "active" && session.sandbox_state === "ready" && session.sandbox_id !== null,
  );
  const states = await deps.sandboxes.provider(launcher).checkSandboxes(ready.map((session) => session.sandbox_id ?? ""));
  const found: string[] = [];
  for (const { session_id: sessionId, sandbox_id: sandboxId } of ready.filter(
    (session) => states.get(session.sandbox_id ?? "") === "ended",
  )) {
    const now = await findSession(deps.db, sessionId);
    if (now?.sandbox_state === "ready" && now.sandbox_id === sandboxId) found.push(sessionId);
  }
  return found;
}

/**
 * Snapshots first, sessions afterwards: one that is seen was taken by a session that is pausing, or has it on record, or has
 * let go of it. So what a crash or a failed deletion left is told from what is being made.
 */
async function deleteUnknownSnapshots(deps: LaunchDependencies, launcher: LauncherName): Promise<number> {
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

import { AppError, isAppError } from "@proliferate/shared/errors";
import { findSession, type SessionRow } from "./db.ts";
import { endSession } from "./end-session.ts";
import { markPaused, moveSandbox, writeLaunchFailure } from "./sandbox-db.ts";
import { launchCancelled, type LaunchContent, type LauncherName, type SessionLauncher } from "./session-launcher.ts";
import { type SessionDependencies, startSession, type StartedSession, type StartSessionRequest } from "./start-session.ts";

/** What launching and ending sessions needs. */
export interface LaunchDependencies extends SessionDependencies {
  /** Launches, watches and ends sandboxes. */
  readonly sandboxes: SessionLauncher;
  /** The process lock that this gateway holds. */
  readonly instanceId: number;
  /** Told of a launch that failed and could not be cleaned up here; the reaper does it. */
  readonly onProblem?: ((problem: { readonly sessionId: string; readonly message: string }) => void) | undefined;
}

/** A session that the gateway launches a sandbox for. */
interface LaunchSessionRequest extends StartSessionRequest {
  /** Where the sandbox runs. */
  readonly launcher: LauncherName;
  /** The repository that is cloned into it; undefined: none. */
  readonly repoUrl: string | undefined;
  /** Whether the caller knows the agent's password, or will be told, when this gateway dies. Else the launch dies with it. */
  readonly passwordIsKept: boolean;
  /** What goes into the sandbox, once there is a key. */
  readonly content: (started: StartedSession) => LaunchContent;
}

/** A launch that has begun: its session now, its end later. */
export interface LaunchUnderWay {
  readonly started: StartedSession;
  /** Resolves when the agent answers; rejects when the launch failed and what it made is gone. Nobody has to listen. */
  readonly launched: Promise<SessionRow>;
}

/**
 * Gate and key at once, as {@link startSession} (and throws what it throws), then the sandbox in the background. A launch
 * that fails ends the session: its key is revoked, its usage settled, and the row says why.
 */
export async function launchSession(deps: LaunchDependencies, request: LaunchSessionRequest): Promise<LaunchUnderWay> {
  deps.sandboxes.provider(request.launcher);
  const sandbox = {
    launcher: request.launcher,
    instanceId: deps.instanceId,
    passwordIsKept: request.passwordIsKept,
    repoUrl: request.repoUrl,
    resumes: false,
  };
  const started = await startSession(deps, { ...request, sandbox });
  await deps.sandboxes.note(started.session, "key_minted");
  const launched = deps.sandboxes.launch(started.session, request.content(started)).catch(async (error: unknown) => {
    throw await failLaunch(deps, started.session, error, () => endSession(deps, request.sessionId));
  });
  deps.sandboxes.track(launched);
  return { started, launched };
}

/** A paused session that is to be woken. */
interface ResumeSessionRequest {
  /** Which one; it must be paused. */
  readonly sessionId: string;
  /** Life of the new key, `24h`; the proxy client's default when absent. */
  readonly duration?: string | undefined;
  /** Of the whole session, USD; absent: as before. */
  readonly maxBudgetUsd?: string | undefined;
  /** As of a launch. */
  readonly passwordIsKept: boolean;
  /** What goes into the sandbox, once there is a key. */
  readonly content: (started: StartedSession) => LaunchContent;
}

/**
 * Wakes a paused session: a new key, then a sandbox from its snapshot. A resume that fails leaves it paused, without a key;
 * a budget that it was given stays. Throws `session_not_found`, `session_not_ready` (not paused, or another call was first), and what a start throws.
 */
export async function resumeSession(deps: LaunchDependencies, request: ResumeSessionRequest): Promise<LaunchUnderWay> {
  const paused = await moveSandbox(deps.db, request.sessionId, {
    from: "paused",
    to: "launching",
    step: "claimed",
    instanceId: deps.instanceId,
    launchers: deps.sandboxes.launchers,
  });
  if (!paused || paused.launcher === "none") throw await notInState(deps, request.sessionId, "paused");
  const sandbox = {
    launcher: paused.launcher,
    instanceId: deps.instanceId,
    passwordIsKept: request.passwordIsKept,
    repoUrl: undefined,
    resumes: true,
  };
  const rest = async (): Promise<void> => {
    await deps.keys.revokeAll(request.sessionId);
    await deps.admission?.release(request.sessionId);
    await markPaused(deps.db, request.sessionId);
  };
  await deps.sandboxes.note(paused, "resuming");
  const started = await startSession(deps, {
    sessionId: request.sessionId,
    orgId: paused.org_id,
    defaultModel: paused.model,
    duration: request.duration,
    maxBudgetUsd: request.maxBudgetUsd,
    sandbox,
  }).catch(async (error: unknown) => {
    await rest();
    throw error;
  });
  await deps.sandboxes.note(started.session, "key_minted");
  const launched = deps.sandboxes.launch(started.session, request.content(started)).catch(async (error: unknown) => {
    throw await failLaunch(deps, started.session, error, rest);
  });
  deps.sandboxes.track(launched);
  return { started, launched };
}

/**
 * Notes why, then undoes, and returns what to throw. What cannot be undone now is left to the reaper, which finds it by the
 * session's state.
 */
async function failLaunch(deps: LaunchDependencies, session: SessionRow, error: unknown, undo: () => Promise<unknown>): Promise<unknown> {
  const failure = isAppError(error)
    ? { code: error.code, message: error.message }
    : { code: "internal_error", message: "The launch failed unexpectedly." };
  try {
    const isOurs = await writeLaunchFailure(deps.db, { sessionId: session.session_id, keyGeneration: session.key_generation }, failure);
    // Another call ended the session, and its launch with it. The error that the launch saw then is of no use to anybody.
    if (!isOurs) return launchCancelled(session.session_id);
    await deps.sandboxes.note(session, "failed", { ...failure, ...lastWords(error) });
    await undo();
  } catch (left) {
    deps.onProblem?.({ sessionId: session.session_id, message: (left as Error).message });
  }
  return error;
}

/** What the agent wrote before a launch failed. */
function lastWords(error: unknown): { readonly agent_log?: string } {
  const { agentLog } = isAppError(error) ? error.details : {};
  return typeof agentLog === "string" ? { agent_log: agentLog } : {};
}

/** Why a session is not in the state that a call needs. */
export async function notInState(deps: SessionDependencies, sessionId: string, needed: string): Promise<AppError> {
  const session = await findSession(deps.db, sessionId);
  if (!session) return new AppError("session_not_found", `There is no session ${sessionId}.`);
  const now = session.state === "active" && session.sandbox_state !== null ? session.sandbox_state : session.state;
  // The session is in the right state, and this gateway did not get it: its launcher is one that only another gateway has.
  if (now === needed && session.launcher !== "none") deps.sandboxes?.provider(session.launcher);
  const launched = session.launcher === "none" ? "; its sandbox is launched by its caller" : "";
  return new AppError("session_not_ready", `Session ${sessionId} is ${now}, not ${needed}${launched}.`);
}

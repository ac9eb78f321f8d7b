import { isAppError } from "@proliferate/shared/errors";
import { type AgentSign, probeAgent, readLastWords, restartAgent } from "@proliferate/shared/sandbox";
import { withDeadInstance } from "@proliferate/access/requests";
import { takeAgentsToAsk, takeSilentAgent, writeAgentAnswers, writeAgentRestart, writeAgentSilence } from "./agent-watch-db.ts";
import type { SessionRow } from "./db.ts";
import { endSession } from "./end-session.ts";
import type { LaunchDependencies } from "./launch-session.ts";
import { pauseSession } from "./pause-session.ts";
import { writeSessionFailure } from "./sandbox-db.ts";
import { problemOf, sideBySide } from "./side-by-side.ts";

/** How long agents may be silent. */
export interface WatchOptions {
  /** Between two questions to one agent, by whichever gateway. Default 10 s. */
  readonly everyMs?: number | undefined;
  /** For an answer. Default 5 s. */
  readonly probeTimeoutMs?: number | undefined;
  /** How long nothing may listen at an agent's address. Default 5 s. */
  readonly refusedMs?: number | undefined;
  /** How long an agent that listens may not answer: a busy one is not a dead one. Default 120 s. */
  readonly silentMs?: number | undefined;
  /** How long one that was started again may take. Default 60 s. */
  readonly readyTimeoutMs?: number | undefined;
  /** How long a pass waits for one agent's rescue, which goes on afterwards. Default 10 s. */
  readonly limitMs?: number | undefined;
  /** Told of each session that could not be looked after; it is looked at again. */
  readonly onProblem?: ((problem: { readonly sessionId: string; readonly code: string; readonly message: string }) => void) | undefined;
}

/** How many agents were started again, and how many failed. */
export interface WatchResult {
  asked: number;
  restarted: number;
  /** Sessions whose agent could not be brought back; paused, or ended where even that failed. */
  failed: number;
}

/** Agents that are asked in one pass; the others come in the next one. */
const AGENTS_A_PASS = 500;
const PARALLEL = 64;
const RESTARTS = 1;

/**
 * Asks the agents of ready sessions for a sign of life, each of them by one gateway at a time. One that gives none for too long is
 * started again in its sandbox, once, with its history and its password; one that fails again is given up: its session is paused
 * with all its files and fails with `agent_unreachable`, and is ended where it cannot be paused. A gateway that dies at any step
 * leaves what the next pass of any other begins again.
 */
export async function watchAgents(deps: LaunchDependencies, options: WatchOptions = {}): Promise<WatchResult> {
  const { everyMs = 10_000, limitMs = 10_000, onProblem } = options;
  const result: WatchResult = { asked: 0, restarted: 0, failed: 0 };
  const sessions = await takeAgentsToAsk(deps.db, deps.sandboxes.launchers, everyMs, AGENTS_A_PASS);
  result.asked = sessions.length;
  await sideBySide(
    sessions,
    { parallel: PARALLEL, limitMs },
    async (session) => {
      const outcome = await lookAfter(deps, session, options);
      if (outcome !== "nothing") result[outcome] += 1;
    },
    (session, error) => onProblem?.({ sessionId: session.session_id, ...problemOf(error) }),
  );
  return result;
}

type Outcome = "restarted" | "failed" | "nothing";

async function lookAfter(deps: LaunchDependencies, session: SessionRow, options: WatchOptions): Promise<Outcome> {
  const sign = await probeAgent(session.agent_url ?? "", options.probeTimeoutMs);
  if (sign === "answers") {
    if (session.agent_silent_since !== null) await writeAgentAnswers(deps.db, session);
    return "nothing";
  }
  const silentMs = await writeAgentSilence(deps.db, session);
  if (silentMs === undefined || silentMs < patienceFor(sign, session, options)) return "nothing";
  if (deps.sandboxes.isAtWork(session.session_id)) return "nothing";
  return deps.sandboxes.atWork(session.session_id, async () => {
    if (!(await take(deps, session))) return "nothing";
    return session.agent_restarts < RESTARTS ? restart(deps, session, sign, silentMs) : giveUp(deps, session, silentMs);
  });
}

/** Into the hands of this gateway: from nobody's, or from those of one that is dead. */
async function take(deps: LaunchDependencies, session: SessionRow): Promise<boolean> {
  const owner = session.instance_id;
  if (owner === null || owner === deps.instanceId) return takeSilentAgent(deps.db, session, deps.instanceId);
  let isTaken = false;
  await withDeadInstance(deps.db, owner, async () => {
    isTaken = await takeSilentAgent(deps.db, session, deps.instanceId);
  });
  return isTaken;
}

function patienceFor(
  sign: AgentSign,
  session: SessionRow,
  { refusedMs = 5_000, silentMs = 120_000, readyTimeoutMs = 60_000 }: WatchOptions,
): number {
  const patienceMs = sign === "refused" ? refusedMs : silentMs;
  return session.agent_restarts === 0 ? patienceMs : Math.max(patienceMs, readyTimeoutMs);
}

async function restart(deps: LaunchDependencies, session: SessionRow, sign: AgentSign, silentMs: number): Promise<Outcome> {
  const { session_id: sessionId } = session;
  await deps.sandboxes.note(session, "agent_unreachable", { sign, silent_seconds: Math.round(silentMs / 1000) });
  try {
    const sandbox = await deps.sandboxes.provider(session.launcher).find(sessionId);
    try {
      await restartAgent(sandbox, { command: deps.sandboxes.command, onKilled: () => deps.sandboxes.reach("agent_killed", sessionId) });
    } finally {
      sandbox.release();
    }
  } catch (error) {
    // Either the sandbox has ended: then the reaper finds it. Or the agent cannot be started there: then the next look finds it silent again,
    // and pauses its session.
    await writeAgentRestart(deps.db, session);
    throw error;
  }
  await deps.sandboxes.reach("agent_started", sessionId);
  if (!(await writeAgentRestart(deps.db, session))) return "nothing";
  await deps.sandboxes.note(session, "agent_restarted");
  return "restarted";
}

/** Its files are somebody's work: they are kept where they can be. */
async function giveUp(deps: LaunchDependencies, session: SessionRow, silentMs: number): Promise<Outcome> {
  const { session_id: sessionId } = session;
  const failure = {
    code: "agent_unreachable",
    message: `The agent of session ${sessionId} did not answer for ${Math.round(silentMs / 1000)} s, also after it was started again.`,
  };
  const agentLog = await lastWordsOf(deps, session);
  await deps.sandboxes.reach("giving_up", sessionId);
  try {
    await pauseSession(deps, sessionId, { ...failure, facts: agentLog === "" ? {} : { agent_log: agentLog } });
  } catch (error) {
    // Another gateway was faster and restarts this agent.
    if (isAppError(error, "session_not_ready") || isAppError(error, "session_not_found")) return "nothing";
    await writeSessionFailure(deps.db, sessionId, failure);
    await endSession(deps, sessionId);
  }
  return "failed";
}

async function lastWordsOf(deps: LaunchDependencies, { session_id: sessionId, launcher }: SessionRow): Promise<string> {
  try {
    const sandbox = await deps.sandboxes.provider(launcher).find(sessionId);
    try {
      return await readLastWords(sandbox);
    } finally {
      sandbox.release();
    }
  } catch {
    return "";
  }
}

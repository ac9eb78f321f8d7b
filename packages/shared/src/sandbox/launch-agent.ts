import { AppError, isAppError } from "../errors/index.ts";
import { AGENT_LOG_PATH, withLastWords } from "./agent-log.ts";
import { waitForAgent } from "./agent-health.ts";
import { OPENCODE_SERVER_PASSWORD_VARIABLE } from "./environment.ts";
import { OPENCODE_GLOBAL_CONFIG_PATH, opencodeServeArguments } from "./opencode.ts";
import type { Sandbox, SandboxFiles, SandboxPort, SandboxProcess, SandboxProvider } from "./contract/provider.ts";

/** In this order, each once, told before its work begins; `failed` after any of them, when the sandbox has been ended. */
export type LaunchStep = "creating" | "created" | "starting_agent" | "waiting_for_agent" | "ready" | "failed";

/** One step of a launch, as `onProgress` gets it. */
export interface LaunchProgress {
  readonly step: LaunchStep;
  /** Known from `created` on. */
  readonly sandboxId?: string;
  /** Since the call, in milliseconds. */
  readonly elapsedMs: number;
}

/** What is launched, and within which limits. */
export interface LaunchAgentOptions {
  readonly sessionId: string;
  /** As `buildSandboxEnv` makes it; without OPENCODE_SERVER_PASSWORD the launch is refused. */
  readonly environment: Readonly<Record<string, string>>;
  /** Content of OpenCode's global configuration (`getOpencodeConfig`). Left out: none is written. */
  readonly config?: string;
  /** Further files of the sandbox. */
  readonly files?: SandboxFiles;
  /** Life of the sandbox in milliseconds, a multiple of 1000. */
  readonly timeoutMs: number;
  /** Milliseconds until the agent's server must answer. Default 30 000. */
  readonly readyTimeoutMs?: number;
  readonly snapshotId?: string;
  /** Port of the agent's server. Default 4096. */
  readonly agentPort?: number;
  /** Ports for what the agent serves (a preview). Default none. */
  readonly ports?: readonly number[];
  /** The agent's command on the address that it is given. Default: `opencode serve`. */
  readonly command?: (address: SandboxPort) => readonly string[];
  /** Called at each step, in order; a promise that it returns is waited for. What it throws ends the launch. */
  readonly onProgress?: (progress: LaunchProgress) => unknown;
  /** Ends the launch, and what it made, with `sandbox_launch_cancelled`. */
  readonly signal?: AbortSignal;
}

/** An agent that answered. Its sandbox is the caller's to end. */
export interface LaunchedAgent {
  readonly sandbox: Sandbox;
  /** Of the agent's server; user `opencode`, password as below. */
  readonly url: string;
  readonly password: string;
  /** Resolves with the exit status if the agent ends by itself. */
  readonly exited: Promise<number | undefined>;
}

/** The agent where no other is named. */
export const opencodeServe = ({ listenPort, listenHostname }: SandboxPort): readonly string[] => [
  "opencode",
  ...opencodeServeArguments({ port: listenPort, hostname: listenHostname }),
];

/**
 * From nothing to an agent that answers: sandbox, files, server, readiness. When it throws, nothing is left of what it
 * made; if even that failed, the message says so. Throws `sandbox_not_ready` when the agent ends or stays silent (its last
 * words in `details.agentLog`), and what the launcher throws. Not retried: a second call with the same session is a new launch.
 */
export async function launchAgent(provider: SandboxProvider, options: LaunchAgentOptions): Promise<LaunchedAgent> {
  const { sessionId, environment, config, files, timeoutMs, snapshotId, agentPort = 4096, ports = [], signal } = options;
  const password = environment[OPENCODE_SERVER_PASSWORD_VARIABLE];
  if (!password)
    throw new AppError(
      "invalid_request",
      `The agent of session ${sessionId} would be open to all: ${OPENCODE_SERVER_PASSWORD_VARIABLE} is not set.`,
      { param: "environment" },
    );
  const began = Date.now();
  let sandbox: Sandbox | undefined;
  const report = async (step: LaunchStep): Promise<void> => {
    if (step !== "failed" && signal?.aborted) throw cancelled(sessionId);
    await options.onProgress?.({ step, ...(sandbox && { sandboxId: sandbox.id }), elapsedMs: Date.now() - began });
  };
  try {
    await report("creating");
    sandbox = await provider.create({
      sessionId,
      environment,
      timeoutMs,
      ports: [agentPort, ...ports],
      files: { ...files, ...(config !== undefined && { [OPENCODE_GLOBAL_CONFIG_PATH]: config }) },
      ...(snapshotId !== undefined && { snapshotId }),
      signal,
    });
    await report("created");
    const agent = await startAgent(sandbox, agentPort, options, report);
    await report("ready");
    return { sandbox, password, ...agent };
  } catch (error) {
    await endAfter(error, sandbox);
    try {
      await report("failed");
    } catch {
      // Whoever listens has failed; the launch's own error says more.
    }
    throw signal?.aborted ? cancelled(sessionId) : error;
  }
}

async function startAgent(
  sandbox: Sandbox,
  agentPort: number,
  options: LaunchAgentOptions,
  report: (step: LaunchStep) => Promise<void>,
): Promise<{ url: string; exited: Promise<number | undefined> }> {
  const { command = opencodeServe, environment, readyTimeoutMs = 30_000, signal } = options;
  const address = sandbox.ports.get(agentPort);
  if (!address) throw new AppError("sandbox_create_failed", `The sandbox ${sandbox.id} came without its port ${agentPort}.`);
  await report("starting_agent");
  const agent = await sandbox.start(command(address), { logPath: AGENT_LOG_PATH });
  await report("waiting_for_agent");
  const waiting = new AbortController();
  const ready = waitForAgent({
    url: address.url,
    password: environment[OPENCODE_SERVER_PASSWORD_VARIABLE] ?? "",
    timeoutMs: readyTimeoutMs,
    signal: signal ? AbortSignal.any([signal, waiting.signal]) : waiting.signal,
  });
  try {
    await Promise.race([ready, endedEarly(agent, sandbox)]);
  } catch (error) {
    throw await withLastWords(error, sandbox, environment);
  } finally {
    waiting.abort();
    ready.catch(() => undefined);
  }
  return { url: address.url, exited: agent.exited };
}

/** Rejects when the agent ends; never settles when its end cannot be known. */
function endedEarly(agent: SandboxProcess, sandbox: Sandbox): Promise<never> {
  return new Promise((_resolve, reject) => {
    void agent.exited.then((status) => {
      if (status !== undefined)
        reject(
          new AppError("sandbox_not_ready", `The agent in the sandbox ${sandbox.id} ended with status ${status} before it was ready.`),
        );
    });
  });
}

/** Ends what a failed launch made. A failure here is told beside the first one, which stays the error. */
async function endAfter(error: unknown, sandbox: Sandbox | undefined): Promise<void> {
  try {
    await sandbox?.terminate();
  } catch (left) {
    if (isAppError(left))
      throw new AppError(
        "sandbox_terminate_failed",
        `${left.message} It was to be ended because of this: ${isAppError(error) ? error.message : "the launch failed"}`,
        { cause: error },
      );
    throw left;
  } finally {
    sandbox?.release();
  }
}

const cancelled = (sessionId: string): AppError =>
  new AppError("sandbox_launch_cancelled", `The launch of session ${sessionId} was cancelled.`);

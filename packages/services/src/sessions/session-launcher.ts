import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import {
  launchAgent,
  type LaunchedAgent,
  type LaunchProgress,
  type SandboxPort,
  type SandboxProvider,
  withDeadline,
} from "@proliferate/shared/sandbox";
import { cloneRepo, type RepoSource } from "./clone-repo.ts";
import type { SessionRow } from "./db.ts";
import { insertSessionEvent, markSandboxReady, type SessionEventType, writeLaunchStep, writeSandboxExpiry } from "./sandbox-db.ts";
import type { SessionSandboxes } from "./start-session.ts";

/** Where a sandbox runs. */
export type LauncherName = "local" | "modal";

/** Called at each step of a session, and waited for. */
export type StepListener = (step: string, sessionId: string) => void | Promise<void>;

/** What launches sandboxes, and within which limits. */
interface SessionLauncherOptions {
  /** Where each step of a launch is recorded. */
  readonly db: DatabaseClient;
  /** What launches sandboxes, by name; a session for another launcher is refused. */
  readonly providers: ReadonlyMap<LauncherName, SandboxProvider>;
  /** The agent's command on the address that it is given. Default: `opencode serve`. */
  readonly command?: ((address: SandboxPort) => readonly string[]) | undefined;
  /** Milliseconds until the agent must answer. Default 60 000. */
  readonly readyTimeoutMs?: number | undefined;
  /** Milliseconds that a whole launch may take, its clone included. Default 600 000. */
  readonly launchTimeoutMs?: number | undefined;
  /** Life of a sandbox at most, a multiple of 1000 up to 24 h. Default 24 h. */
  readonly lifetimeMs?: number | undefined;
  /** Told of each step once it is recorded and before its work begins, and waited for; a test stops here to be a crash. */
  readonly onStep?: StepListener | undefined;
}

/** What goes into the sandbox. */
export interface LaunchContent {
  /** As `buildSandboxEnv` makes it. */
  readonly environment: Readonly<Record<string, string>>;
  readonly config: string;
  readonly files?: Readonly<Record<string, string>> | undefined;
  readonly repo?: RepoSource | undefined;
}

interface RunningLaunch {
  readonly controller: AbortController;
  readonly settled: Promise<void>;
}

const LAUNCH_TIMEOUT_MS = 10 * 60 * 1000;
/** How long an end waits for the launch that it aborts: what that does not clear away by then, the end does. */
const ABORT_WAIT_MS = 3_000;
const DAY_MS = 24 * 60 * 60 * 1000;

/** The sandboxes of this gateway's sessions. One object a process: it knows which launches are under way here. */
export class SessionLauncher implements SessionSandboxes {
  readonly #options: SessionLauncherOptions;
  readonly #running = new Map<string, RunningLaunch>();
  readonly #atWork: string[] = [];
  readonly #background = new Set<Promise<void>>();
  #stopped = false;

  constructor(options: SessionLauncherOptions) {
    this.#options = options;
  }

  /** The agent's command on the address that it is given. */
  get command(): SessionLauncherOptions["command"] {
    return this.#options.command;
  }

  get launchers(): readonly LauncherName[] {
    return [...this.#options.providers.keys()];
  }

  /** Whether this process launches, pauses or ends the session just now. */
  isAtWork(sessionId: string): boolean {
    return this.#running.has(sessionId) || this.isHandled(sessionId);
  }

  /** Whether this process pauses, repairs or ends the session just now; a launch does not count, as an end aborts it. */
  isHandled(sessionId: string): boolean {
    return this.#atWork.includes(sessionId);
  }

  async atWork<T>(sessionId: string, work: () => Promise<T>): Promise<T> {
    this.#atWork.push(sessionId);
    try {
      return await work();
    } finally {
      this.#atWork.splice(this.#atWork.indexOf(sessionId), 1);
    }
  }

  async reach(step: string, sessionId: string): Promise<void> {
    await this.#options.onStep?.(step, sessionId);
  }

  /** Throws `launcher_not_configured`. */
  provider(launcher: SessionRow["launcher"]): SandboxProvider {
    const provider = launcher === "none" ? undefined : this.#options.providers.get(launcher);
    if (provider) return provider;
    const there = this.launchers.length === 0 ? "it has none" : `it has ${this.launchers.join(", ")}`;
    throw new AppError("launcher_not_configured", `This gateway has no launcher ${launcher}; ${there}.`, { param: "launcher" });
  }

  /** Adds an event to the session, and then tells whoever simulates a crash. */
  async note(session: SessionRow, type: SessionEventType, facts: Readonly<Record<string, unknown>> = {}): Promise<void> {
    await insertSessionEvent(this.#options.db, session.session_id, type, facts);
    await this.reach(type, session.session_id);
  }

  /**
   * From a session with a key to one whose agent answers. When it throws, no sandbox is left (or the message says so) and the
   * caller ends or pauses the session. A session that was ended meanwhile is `sandbox_launch_cancelled`.
   */
  launch(session: SessionRow, content: LaunchContent): Promise<SessionRow> {
    const controller = new AbortController();
    const { launchTimeoutMs = LAUNCH_TIMEOUT_MS } = this.#options;
    const deadline = AbortSignal.timeout(launchTimeoutMs);
    const launch = this.#launch(session, content, AbortSignal.any([controller.signal, deadline])).catch((error: unknown) => {
      if (!deadline.aborted || controller.signal.aborted) throw error;
      throw new AppError(
        "sandbox_launch_timeout",
        `The launch of session ${session.session_id} was not over after ${launchTimeoutMs} ms.`,
        { cause: error },
      );
    });
    const settled = launch.then(
      () => undefined,
      () => undefined,
    );
    const running = { controller, settled };
    this.#running.set(session.session_id, running);
    // A newer launch of the same session may be in the map by now. It takes itself away when it ends.
    void settled.then(() => this.#running.get(session.session_id) === running && this.#running.delete(session.session_id));
    if (this.#stopped) controller.abort();
    return launch;
  }

  async #launch(session: SessionRow, { environment, config, files, repo }: LaunchContent, signal: AbortSignal): Promise<SessionRow> {
    const { db, command, readyTimeoutMs = 60_000, lifetimeMs = DAY_MS } = this.#options;
    const fence = { sessionId: session.session_id, keyGeneration: session.key_generation };
    await writeSandboxExpiry(db, fence, new Date(Date.now() + lifetimeMs));
    let agent: LaunchedAgent | undefined;
    try {
      agent = await launchAgent(this.provider(session.launcher), {
        sessionId: session.session_id,
        environment,
        config,
        files: files ?? {},
        timeoutMs: lifetimeMs,
        readyTimeoutMs,
        signal,
        onProgress: (progress) => this.#noteProgress(session, progress),
        ...(command && { command }),
        ...(session.snapshot_id !== null && { snapshotId: session.snapshot_id }),
      });
      if (repo && session.snapshot_id === null) {
        await this.#noteStep(session, "cloning_repo", agent.sandbox.id);
        await cloneRepo(agent.sandbox, repo, signal);
      }
      return await this.#finish(session, agent);
    } catch (error) {
      await agent?.sandbox.terminate();
      throw error;
    } finally {
      agent?.sandbox.release();
    }
  }

  async #noteProgress(session: SessionRow, { step, sandboxId, elapsedMs }: LaunchProgress): Promise<void> {
    // These two are noted by the caller, who knows what became of the session, and why.
    if (step === "ready" || step === "failed") return;
    await this.#noteStep(session, step, sandboxId, { elapsed_ms: elapsedMs, ...(sandboxId !== undefined && { sandbox_id: sandboxId }) });
  }

  async #noteStep(
    session: SessionRow,
    step: SessionEventType,
    sandboxId: string | undefined,
    facts: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const fence = { sessionId: session.session_id, keyGeneration: session.key_generation };
    if (!(await writeLaunchStep(this.#options.db, fence, step, sandboxId ?? null, facts))) throw launchCancelled(session.session_id);
    await this.reach(step, session.session_id);
  }

  async #finish(session: SessionRow, agent: LaunchedAgent): Promise<SessionRow> {
    await this.reach("ready", session.session_id);
    const ready = await this.markReady(session, { sandboxId: agent.sandbox.id, url: agent.url });
    if (ready) return ready;
    throw launchCancelled(session.session_id);
  }

  /** State and event together. Undefined when the launch was overtaken. */
  async markReady(session: SessionRow, sandbox: { readonly sandboxId: string; readonly url: string }): Promise<SessionRow | undefined> {
    return this.#options.db.transaction().execute(async (tx) => {
      const ready = await markSandboxReady(tx, { sessionId: session.session_id, keyGeneration: session.key_generation }, sandbox);
      if (ready) await insertSessionEvent(tx, session.session_id, "ready", { sandbox_id: sandbox.sandboxId, url: sandbox.url });
      return ready;
    });
  }

  async remove(session: SessionRow): Promise<void> {
    const running = this.#running.get(session.session_id);
    running?.controller.abort();
    if (running) await withDeadline(running.settled, ABORT_WAIT_MS).catch(() => undefined);
    const provider = this.provider(session.launcher);
    await this.terminate(session);
    if (session.snapshot_id !== null) await provider.deleteSnapshot(session.snapshot_id);
  }

  /** Ends the session's sandbox, by its session too: a crash may have left one that is not on record. Idempotent. */
  async terminate(session: SessionRow): Promise<void> {
    const provider = this.provider(session.launcher);
    if (session.sandbox_id !== null) await provider.terminate(session.sandbox_id);
    await provider.terminateSession(session.session_id);
  }

  /** Aborts the launches that are under way here and waits until they left nothing; sandboxes that are ready run on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const running = [...this.#running.values()];
    for (const { controller } of running) controller.abort();
    await Promise.all(running.map(({ settled }) => settled));
    await Promise.all(this.#background);
  }

  /** Makes `stop` wait for the work, too, and takes its failure as handled. */
  track(work: Promise<unknown>): void {
    const settled: Promise<void> = work.then(
      () => void this.#background.delete(settled),
      () => void this.#background.delete(settled),
    );
    this.#background.add(settled);
  }
}

/** The error of a launch whose session was ended meanwhile. */
export const launchCancelled = (sessionId: string): AppError =>
  new AppError("sandbox_launch_cancelled", `Session ${sessionId} was ended while its sandbox was launched.`);

import { type Logger, type LoopOptions, startLoop, type Stoppable } from "@proliferate/runtime";
import { type LaunchDependencies, reapSessions, watchAgents, type WatchOptions } from "@proliferate/services/sessions";

const DEFAULT_EVERY_MS = 10_000;
/** A run may clone a repository and end sandboxes of an outside service. */
const TIMEOUT_MS = 10 * 60_000;

interface UpkeepOptions {
  /** Between the end of one run and the next. Default 10 s. */
  readonly everyMs?: number | undefined;
  readonly watch?: WatchOptions;
  /** Where the runs are counted. */
  readonly registry?: LoopOptions["registry"];
}

/**
 * Two loops, at the start and about every `everyMs` until they are stopped: one repairs sessions, one asks their agents for a
 * sign of life. Neither waits for the other's launchers. A run that fails is logged, and the next one tries again. Every
 * gateway runs both: each session is claimed by one of them.
 */
export function startUpkeep(deps: LaunchDependencies, logger: Logger, options: UpkeepOptions = {}): Stoppable {
  const { everyMs = DEFAULT_EVERY_MS, watch = {}, registry } = options;
  const optionsOf = (name: string): LoopOptions => ({
    timeoutMs: TIMEOUT_MS,
    onError: (error) => logger.error({ error: String(error) }, `${name}.failed`),
    ...(registry && { registry }),
  });
  const loops = [
    startLoop("reap_sessions", everyMs, () => reap(deps, logger), optionsOf("reap")),
    startLoop("watch_agents", everyMs, () => watchOnce(deps, logger, { everyMs, ...watch }), optionsOf("agents")),
  ];
  return { stop: async () => void (await Promise.all(loops.map((loop) => loop.stop()))) };
}

async function reap(deps: LaunchDependencies, logger: Logger): Promise<void> {
  const result = await reapSessions(deps, { onProblem: (problem) => logger.error(problem, "reap.session_failed") });
  if (Object.values(result).some((count) => count > 0)) logger.warn({ ...result }, "reap.repaired");
}

async function watchOnce(deps: LaunchDependencies, logger: Logger, watch: WatchOptions): Promise<void> {
  const { restarted, failed } = await watchAgents(deps, {
    onProblem: (problem) => logger.error(problem, "agents.session_failed"),
    ...watch,
  });
  if (restarted + failed > 0) logger.warn({ restarted, failed }, "agents.unreachable");
}

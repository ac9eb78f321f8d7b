import type { Logger, Stoppable } from "@proliferate/runtime";
import type { LaunchDependencies } from "@proliferate/services/sessions/launch-session";
import { reapSessions } from "@proliferate/services/sessions/reap-sessions";
import { watchAgents, type WatchOptions } from "@proliferate/services/sessions/watch-agents";

const DEFAULT_EVERY_MS = 10_000;

/**
 * Repairs sessions and asks their agents for a sign of life, at the start and every `everyMs` (default 10 s), until it is stopped.
 * The two go on beside each other: neither waits for the other's launchers. A pass that fails is logged, and the next one tries again.
 */
export function startUpkeep(deps: LaunchDependencies, logger: Logger, everyMs = DEFAULT_EVERY_MS, watch: WatchOptions = {}): Stoppable {
  const parts = [
    repeat("reap", everyMs, logger, async () => {
      const result = await reapSessions(deps, { onProblem: (problem) => logger.error(problem, "reap.session_failed") });
      if (Object.values(result).some((count) => count > 0)) logger.warn({ ...result }, "reap.repaired");
    }),
    repeat("agents", everyMs, logger, async () => {
      const { restarted, failed } = await watchAgents(deps, {
        onProblem: (problem) => logger.error(problem, "agents.session_failed"),
        everyMs,
        ...watch,
      });
      if (restarted + failed > 0) logger.warn({ restarted, failed }, "agents.unreachable");
    }),
  ];
  return { stop: async () => void (await Promise.all(parts.map((part) => part.stop()))) };
}

/** One pass after the other. */
function repeat(name: string, everyMs: number, logger: Logger, work: () => Promise<void>): Stoppable {
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;
  let pass: Promise<void> = Promise.resolve();
  const run = async (): Promise<void> => {
    try {
      await work();
    } catch (error) {
      logger.error({ error: String(error) }, `${name}.failed`);
    }
    if (!isStopped) timer = setTimeout(() => (pass = run()), everyMs);
  };
  pass = run();
  return {
    stop: async () => {
      isStopped = true;
      clearTimeout(timer);
      await pass;
    },
  };
}

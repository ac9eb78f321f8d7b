import type { Logger, Stoppable } from "@proliferate/runtime";
import type { LaunchDependencies } from "@proliferate/services/sessions/launch-session";
import { reapSessions } from "@proliferate/services/sessions/reap-sessions";

const DEFAULT_EVERY_MS = 10_000;

/**
 * Repairs sessions at the start and every `everyMs` (default 10 s), one pass after the other until it is stopped. A pass that fails is logged,
 * and the next one tries again.
 */
export function startUpkeep(deps: LaunchDependencies, logger: Logger, everyMs = DEFAULT_EVERY_MS): Stoppable {
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;
  let pass: Promise<void> = Promise.resolve();
  const run = async (): Promise<void> => {
    try {
      const result = await reapSessions(deps, { onProblem: (problem) => logger.error(problem, "reap.session_failed") });
      if (Object.values(result).some((count) => count > 0)) logger.warn({ ...result }, "reap.repaired");
    } catch (error) {
      logger.error({ error: String(error) }, "reap.failed");
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

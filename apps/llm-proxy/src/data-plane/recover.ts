import type { DatabaseClient } from "@proliferate/db";
import type { Logger, Stoppable } from "@proliferate/runtime";
import { resetDueBudgets } from "@proliferate/services/attempts/budget-reset";
import { listAttempts, listInstancesWithAttempts, withDeadInstance } from "@proliferate/services/attempts/db";
import { settleAttempt } from "@proliferate/services/attempts/settle";
import type { ModelTable } from "../config/model-table.ts";
import { outcomeOfOrphan } from "./outcome.ts";

export interface RecoverDeps {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  readonly models: Pick<ModelTable, "requestPrices">;
  readonly instanceId: number;
}

const EVERY_MS = 10_000;
const BATCH = 200;

/**
 * Settles what dead processes left, at the usage that they checkpointed. An instance is dead when its process lock is
 * free; while its attempts are settled the lock is held here, so of many proxies one does it. Returns how many it settled.
 */
export async function recoverOrphans(deps: RecoverDeps): Promise<number> {
  let recovered = 0;
  for (const instanceId of await listInstancesWithAttempts(deps.db, deps.instanceId)) {
    await withDeadInstance(deps.db, instanceId, async () => {
      recovered += await settleAttemptsOf(deps, instanceId);
    });
  }
  if (recovered > 0) deps.logger.warn({ recovered }, "recover.settled");
  return recovered;
}

async function settleAttemptsOf(deps: RecoverDeps, instanceId: number): Promise<number> {
  let settled = 0;
  for (;;) {
    const attempts = await listAttempts(deps.db, instanceId, BATCH);
    for (const attempt of attempts) {
      const prices = deps.models.requestPrices(attempt);
      if (!prices) deps.logger.error({ attempt: attempt.attempt_id, price: attempt.price_id }, "recover.price_unknown");
      const result = await settleAttempt(deps.db, attempt, outcomeOfOrphan(attempt, prices, attempt.checkpointed_at ?? attempt.started_at));
      if (result === "settled") settled += 1;
    }
    if (attempts.length < BATCH) return settled;
  }
}

/**
 * Every 10 s, one pass after the other until it is stopped: settles orphans and ends the budgets' windows. A pass that
 * fails is logged, and the next one tries again.
 */
export function startUpkeep(deps: RecoverDeps): Stoppable {
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;
  let pass: Promise<void> = Promise.resolve();
  const schedule = (): void => {
    if (isStopped) return;
    timer = setTimeout(() => {
      pass = recoverOrphans(deps)
        .then(() => resetDueBudgets(deps.db, new Date()))
        .then(undefined, (error: unknown) => deps.logger.error({ error: String(error) }, "upkeep.failed"))
        .then(schedule);
    }, EVERY_MS);
  };
  schedule();
  return {
    stop: async () => {
      isStopped = true;
      clearTimeout(timer);
      await pass;
    },
  };
}

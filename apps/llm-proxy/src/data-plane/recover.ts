import { type DatabaseClient, isDatabaseUnavailable } from "@proliferate/db";
import { type Leader, type Logger, type LoopOptions, startLoop, type Stoppable } from "@proliferate/runtime";
import {
  type AttemptOutcome,
  type AttemptRow,
  listAttempts,
  listInstancesWithAttempts,
  resetDueBudgets,
  settleAttempt,
  withDeadInstance,
} from "@proliferate/access/requests";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { outcomeOfOrphan } from "./outcome.ts";

/** What settling the requests of dead proxies needs. */
interface RecoverDeps {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  readonly catalogue: Pick<Catalogue, "current">;
  readonly instanceId: number;
}

const EVERY_MS = 10_000;
const BATCH = 200;

/**
 * Settles what dead processes left, at the usage that they checkpointed. An instance is dead when its process lock is
 * free; while its attempts are settled the lock is held here, so of many proxies one does it. Each attempt and each instance
 * stands for itself: one that fails is logged and left to the next pass, and the others go on. Returns how many it settled.
 * Throws only when the store cannot be asked at all.
 */
export async function recoverOrphans(deps: RecoverDeps): Promise<number> {
  let recovered = 0;
  for (const instanceId of await listInstancesWithAttempts(deps.db, deps.instanceId)) {
    try {
      await withDeadInstance(deps.db, instanceId, async () => {
        recovered += await settleAttemptsOf(deps, instanceId);
      });
    } catch (error) {
      deps.logger.error({ instance: instanceId, error: String(error) }, "recover.instance_failed");
    }
  }
  if (recovered > 0) deps.logger.warn({ recovered }, "recover.settled");
  return recovered;
}

async function settleAttemptsOf(deps: RecoverDeps, instanceId: number): Promise<number> {
  let settled = 0;
  let lastId: string | undefined;
  for (;;) {
    const attempts = await listAttempts(deps.db, instanceId, lastId, BATCH);
    for (const attempt of attempts) if (await settleOrphan(deps, attempt)) settled += 1;
    lastId = attempts.at(-1)?.attempt_id;
    if (attempts.length < BATCH) return settled;
  }
}

/** True when this call settled it. Rejects only when the store is away: then the others cannot be settled either. */
async function settleOrphan(deps: RecoverDeps, attempt: AttemptRow): Promise<boolean> {
  try {
    return (await settleAttempt(deps.db, attempt, outcomeOfDead(deps, attempt))) === "settled";
  } catch (error) {
    if (isDatabaseUnavailable(error)) throw error;
    deps.logger.error({ attempt: attempt.attempt_id, error: String(error) }, "recover.attempt_failed");
    return false;
  }
}

/** How an attempt ended whose process died: at the usage that was checkpointed, by the prices of its moment. */
export function outcomeOfDead(
  { catalogue, logger }: Pick<RecoverDeps, "catalogue" | "logger">,
  attempt: Omit<AttemptRow, "reservations">,
): AttemptOutcome {
  const prices = catalogue.current.modelsFor({ teamId: attempt.team_id }).requestPrices(attempt);
  if (!prices) logger.error({ attempt: attempt.attempt_id, price: attempt.price_id }, "recover.price_unknown");
  return outcomeOfOrphan(attempt, prices);
}

/** Of the upkeep: of the proxies on one database, the one that leads ends the windows of budgets. */
interface UpkeepDeps extends RecoverDeps {
  readonly budgetLeader: Leader;
  readonly registry?: LoopOptions["registry"];
}

/**
 * Two loops, each about every 10 s until they are stopped: every proxy settles orphans, and one proxy ends the budgets' windows.
 * Neither waits for the other; what fails is logged, and the next run tries again.
 */
export function startUpkeep(deps: UpkeepDeps): Stoppable {
  const options = {
    first: "after a pause",
    onError: (error: unknown): void => deps.logger.error({ error: String(error) }, "upkeep.failed"),
    ...(deps.registry && { registry: deps.registry }),
  } as const;
  const loops = [
    startLoop("recover_orphans", EVERY_MS, () => recoverOrphans(deps), options),
    startLoop("reset_budgets", EVERY_MS, () => resetDueBudgets(deps.db), { ...options, leader: deps.budgetLeader }),
  ];
  return { stop: async () => void (await Promise.all(loops.map((loop) => loop.stop()))) };
}

import type { DatabaseClient } from "@proliferate/db";
import { type LoopOptions, startLoop, type Stoppable } from "@proliferate/runtime";
import { takePass } from "@proliferate/services/passes";
import { takeFlushRequests } from "@proliferate/services/settlement";
import { listOrgsNearZero } from "@proliferate/services/billing-gate";

/** What settling ahead of the regular pass needs. */
interface FlushDeps {
  readonly db: DatabaseClient;
  /** Brings spend rows into the ledger. */
  readonly syncSpend: () => Promise<object>;
  /** Settles these orgs. */
  readonly settleOrgs: (orgIds: readonly string[]) => Promise<object>;
  readonly onError: (error: unknown) => void;
  /** Between two looks for requests. Default 1 s. */
  readonly intervalMs?: number;
  /** Between two flushes of orgs that are nearly out of credits. Default 10 s. */
  readonly nearZeroIntervalMs?: number;
  /** Where the runs are counted. */
  readonly registry?: LoopOptions["registry"];
}

const NEAR_ZERO = "flush-near-zero";

/**
 * Settles ahead of the regular pass: an org whose session ended, within about a second, and orgs that are nearly out of
 * credits every ten, on one of the workers. Only a shortcut: a request that is lost with its worker is covered by the regular pass.
 */
export function startFlushLoop(deps: FlushDeps): Stoppable {
  const { intervalMs = 1_000, nearZeroIntervalMs = 10_000 } = deps;
  let nearZeroAt = performance.now();

  async function flush(): Promise<void> {
    const orgIds = new Set(await takeFlushRequests(deps.db));
    if (performance.now() - nearZeroAt >= nearZeroIntervalMs) {
      nearZeroAt = performance.now();
      if (await takePass(deps.db, NEAR_ZERO, nearZeroIntervalMs)) for (const orgId of await listOrgsNearZero(deps.db)) orgIds.add(orgId);
    }
    if (orgIds.size === 0) return;
    await deps.syncSpend();
    await deps.settleOrgs([...orgIds]);
  }

  return startLoop("flush", intervalMs, flush, {
    first: "after a pause",
    onError: deps.onError,
    ...(deps.registry && { registry: deps.registry }),
  });
}

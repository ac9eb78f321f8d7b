import type { DatabaseClient } from "@proliferate/db";
import type { RateCard } from "@proliferate/services/billing/credits";
import { type SpendSyncResult, syncSpend } from "@proliferate/services/billing/spend-sync";

export interface BillingWorkerDeps {
  readonly db: DatabaseClient;
  readonly rate: RateCard;
  /** Between two passes that read the whole spend table. Default one hour. */
  readonly sweepIntervalMs?: number;
}

/**
 * One pass from spend rows to billing events: those of the last 24 h, or of any age when `fullSweep` says so. Idempotent,
 * safe at any time and at once on several workers.
 */
export async function syncLLMSpend(deps: BillingWorkerDeps, options: { readonly fullSweep?: boolean } = {}): Promise<SpendSyncResult> {
  return syncSpend(deps.db, { rate: deps.rate, fullSweep: options.fullSweep ?? false });
}

/** {@link syncLLMSpend} as a job: its first pass, and one each `sweepIntervalMs`, reads rows of any age. */
export function createSpendSyncJob(deps: BillingWorkerDeps): () => Promise<SpendSyncResult> {
  const sweepIntervalMs = deps.sweepIntervalMs ?? 60 * 60 * 1_000;
  let sweptAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const startedAt = performance.now();
    const fullSweep = startedAt - sweptAt >= sweepIntervalMs;
    const result = await syncLLMSpend(deps, { fullSweep });
    if (fullSweep) sweptAt = startedAt;
    return result;
  };
}

import type { DatabaseClient } from "@proliferate/db";
import { type AuditResult, auditCompleteness } from "@proliferate/services/billing/audit";
import type { RateCard } from "@proliferate/services/billing/credits";
import type { LiteLLMSpendApiOptions } from "@proliferate/services/billing/litellm-spend-api";
import { maintainPartitions, type PartitionUpkeep } from "@proliferate/services/billing/retention";
import { importSource } from "@proliferate/services/billing/spend-import";
import { type SpendSyncResult, syncSpend } from "@proliferate/services/billing/spend-sync";

export interface BillingWorkerDeps {
  readonly db: DatabaseClient;
  /** Of rows that no rate card covers. */
  readonly rate: RateCard;
  /** Where spend rows are read over REST; without it the source's tables are in reach of `db`. */
  readonly spendApi?: LiteLLMSpendApiOptions | undefined;
  /** Between two passes that read the whole spend table. Default one hour. */
  readonly sweepIntervalMs?: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** A request may take ten minutes, and its row a while more. */
const IMPORT_MS = 15 * MINUTE_MS;
const IMPORT_ON_SWEEP_MS = 24 * HOUR_MS;
/** Rows younger than this may still be on their way to the ledger. */
const AUDIT_DELAY_MS = 5 * MINUTE_MS;
const AUDIT_RANGE_MS = 48 * HOUR_MS;

/**
 * One pass from spend rows to billing events: those of the last 24 h, or of any age when `fullSweep` says so. Over REST, the
 * rows since 15 minutes before the newest known one are brought in first, or 24 h before it. Idempotent, safe at any time and at once on several workers.
 */
export async function syncLLMSpend(deps: BillingWorkerDeps, options: { readonly fullSweep?: boolean } = {}): Promise<SpendSyncResult> {
  const fullSweep = options.fullSweep ?? false;
  if (deps.spendApi !== undefined) await importSource(deps.db, deps.spendApi, { lookBackMs: fullSweep ? IMPORT_ON_SWEEP_MS : IMPORT_MS });
  return syncSpend(deps.db, { rate: deps.rate, fullSweep });
}

/** {@link syncLLMSpend} as a job: its first pass, and one each `sweepIntervalMs`, reads rows of any age. */
export function createSpendSyncJob(deps: BillingWorkerDeps): () => Promise<SpendSyncResult> {
  const sweepIntervalMs = deps.sweepIntervalMs ?? HOUR_MS;
  let sweptAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const startedAt = performance.now();
    const fullSweep = startedAt - sweptAt >= sweepIntervalMs;
    const result = await syncLLMSpend(deps, { fullSweep });
    if (fullSweep) sweptAt = startedAt;
    return result;
  };
}

export interface LedgerCareResult extends PartitionUpkeep {
  readonly missingRows: number;
  readonly healedRows: number;
}

/** The ledger's own upkeep: partitions of the months to come, and the last two days compared with the source and healed. Idempotent. */
export async function careForLedger(deps: BillingWorkerDeps): Promise<LedgerCareResult> {
  const upkeep = await maintainPartitions(deps.db);
  const to = new Date(Date.now() - AUDIT_DELAY_MS);
  const audit: AuditResult = await auditCompleteness(deps.db, { from: new Date(to.getTime() - AUDIT_RANGE_MS), to, heal: true, rate: deps.rate });
  return { ...upkeep, missingRows: audit.missingRows, healedRows: audit.healedRows };
}

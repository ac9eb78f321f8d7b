import type { DatabaseClient } from "@proliferate/db";
import { createMetricsPage, type MetricsPage, type Registry } from "@proliferate/runtime";
import { collectBillingChecks, collectBillingLags } from "@proliferate/services/metrics";

/** The checks add whole tables up; more often would tell nothing new. */
const CHECKS_MAX_AGE_MS = 5 * 60_000;

/**
 * `/metrics` of the worker: the state of the whole deployment as the database has it, so every worker tells the same and
 * alert rules take the maximum, and this process's own.
 */
export function createWorkerMetrics({
  db,
  jobs,
  counted,
}: {
  readonly db: DatabaseClient;
  readonly jobs: Readonly<Record<string, number>>;
  /** What this process counts. */
  readonly counted?: Registry | undefined;
}): MetricsPage {
  const intervals = Object.entries(jobs).map(([job, intervalMs]) => ({ labels: { job }, value: intervalMs / 1_000 }));
  const sources = [
    {
      name: "worker",
      collect: async () => [
        {
          name: "llm_gateway_worker_job_interval_seconds",
          help: "Seconds between two passes of each job, as configured.",
          samples: intervals,
        },
      ],
    },
    { name: "billing_lags", collect: () => collectBillingLags(db) },
    { name: "billing_checks", collect: () => collectBillingChecks(db), maxAgeMs: CHECKS_MAX_AGE_MS },
  ];
  return createMetricsPage(sources, counted);
}

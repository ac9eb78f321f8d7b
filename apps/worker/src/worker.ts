import { checkDatabase, type DatabaseClient, isDatabaseUnavailable, isLoginRefused, isTableMissing, openDatabase } from "@proliferate/db";
import { type Lifecycle, listen, type Logger, Registry } from "@proliferate/runtime";
import { createAutumnBalances } from "@proliferate/services/balance";
import { recordPass } from "@proliferate/services/passes";
import { seedRateCard } from "@proliferate/services/rates";
import { readDeploymentId } from "@proliferate/services/settlement";
import { MIRROR_SCHEMA } from "@proliferate/services/import";
import { createSinkFromSettings } from "@proliferate/services/sinks";
import { createAutumnTopUpProvider } from "@proliferate/services/top-up";
import { sendDueWebhooks } from "@proliferate/services/webhook-events";
import { AppError } from "@proliferate/shared/errors";
import { CREDITS_PER_USD } from "@proliferate/shared/money";
import { connectKeyControl, runBalances, runGate } from "./balance-worker.ts";
import { careForLedger, createSpendSyncJob, flushLLMSpend } from "./billing-worker.ts";
import type { WorkerConfig } from "./env.ts";
import { createHealthServer } from "./health.ts";
import { createProblemLog, errorFacts } from "./problem-log.ts";
import { openJobQueue } from "./queue.ts";
import { OUTBOX, RECONCILE, startSettlementJobs } from "./settlement-jobs.ts";
import { openSpendSource } from "./spend-source.ts";

const SPEND_SYNC = "llm-spend-sync";
const LEDGER_CARE = "ledger-care";
const LEDGER_CARE_INTERVAL_MS = 60 * 60 * 1_000;
const GATE = "billing-gate";
const BALANCES = "org-balances";
const WEBHOOKS = "billing-webhooks";
/** Nobody waits for an event, and there are few. */
const WEBHOOK_INTERVAL_MS = 5_000;

/** Builds the worker from its parts and gives each to the lifecycle, which stops them in reverse. */
export async function startWorker(
  config: WorkerConfig,
  lifecycle: Lifecycle,
  logger: Logger,
): Promise<{ readonly ports: { readonly worker: number } }> {
  const problems = createProblemLog({ logger });
  const { pooled, direct } = config.database;
  await checkDatabase(config.spendSource === "rest" ? { ...pooled, litellmSchema: MIRROR_SCHEMA } : pooled);
  const source = await openSpendSource(config);
  const db = openDatabase({
    ...pooled,
    litellmSchema: source.litellmSchema,
    applicationName: "llm-gateway-worker",
    onIdleError: (error) => problems.report("database.connection_lost", errorFacts(error)),
  });
  lifecycle.own("database", { stop: () => db.destroy() });

  const queue = await openJobQueue({
    databaseUrl: direct.connectionString,
    redisUrl: config.redisUrl,
    deploymentId: await openDeployment(db),
    onError: (error, job) => problems.report("job.failed", { job, ...errorFacts(error) }),
  });
  lifecycle.own("queue", queue);

  const sink = createSinkFromSettings(db, config.sinks, (error) => problems.report("shadow_sink.not_recorded", errorFacts(error)));
  const jobs = {
    [SPEND_SYNC]: config.syncIntervalMs,
    [OUTBOX]: config.outboxIntervalMs,
    ...(sink.ledger && { [RECONCILE]: config.reconcileIntervalMs }),
    [LEDGER_CARE]: LEDGER_CARE_INTERVAL_MS,
    [GATE]: config.gateIntervalMs,
    ...(config.sinks.autumn && { [BALANCES]: config.balanceIntervalMs }),
    ...(config.webhook && { [WEBHOOKS]: WEBHOOK_INTERVAL_MS }),
  };
  const counted = new Registry();
  const server = createHealthServer({ db, logger, queueBackend: queue.backend, jobs, metricsToken: config.metricsToken, counted });
  const listener = lifecycle.own("health", await listen(server, { port: config.port, host: config.host, portVariable: "WORKER_PORT" }));

  const rate = { markup: config.markup, creditsPerUsd: CREDITS_PER_USD };
  await seedRateCard(db, rate);
  const { keyRetentionDays, sessionRetentionDays } = config;
  const ledger = { db, rate, spendApi: source.spendApi, keyRetentionDays, sessionRetentionDays };
  const syncSpend = createSpendSyncJob(ledger);
  const every = async (name: string, intervalMs: number, pass: () => Promise<object>): Promise<void> =>
    queue.every(name, intervalMs, () => passOf(name, { db, logger }, pass));
  await every(SPEND_SYNC, config.syncIntervalMs, syncSpend);
  await every(LEDGER_CARE, LEDGER_CARE_INTERVAL_MS, () => careForLedger(ledger));
  const { outboxIntervalMs, reconcileIntervalMs } = config;
  await startSettlementJobs({
    db,
    sink,
    lifecycle,
    problems,
    registry: counted,
    outboxIntervalMs,
    reconcileIntervalMs,
    every,
    syncSpend: () => flushLLMSpend(ledger),
  });

  await startGateJobs({ db, rate, config, problems, every });
  return { ports: { worker: listener.port } };
}

interface GateJobs {
  readonly db: DatabaseClient;
  readonly rate: { readonly markup: string; readonly creditsPerUsd: string };
  readonly config: WorkerConfig;
  readonly problems: ReturnType<typeof createProblemLog>;
  readonly every: (name: string, intervalMs: number, pass: () => Promise<object>) => Promise<void>;
}

/** What follows from balances: the states of organizations, readings of what they have, and what their systems are told. */
async function startGateJobs({ db, rate, config, problems, every }: GateJobs): Promise<void> {
  const gate = {
    db,
    rate,
    keys: connectKeyControl(config.proxy),
    onProblem: (event: string, facts: Readonly<Record<string, unknown>>) => problems.report(event, facts),
  };
  await every(GATE, config.gateIntervalMs, () => runGate(gate));
  const { autumn } = config.sinks;
  if (autumn) {
    const balances = { ...gate, remote: createAutumnBalances(autumn), topUps: createAutumnTopUpProvider(autumn) };
    await every(BALANCES, config.balanceIntervalMs, () => runBalances(balances));
  }
  const { webhook } = config;
  if (webhook) await every(WEBHOOKS, WEBHOOK_INTERVAL_MS, () => sendDueWebhooks(db, webhook));
}

/** The first statement of the process: says at the start what would otherwise fail in every pass. */
async function openDeployment(db: DatabaseClient): Promise<string> {
  try {
    return await readDeploymentId(db);
  } catch (error) {
    const { message } = error as Error;
    if (isTableMissing(error))
      throw new AppError("migration_failed", `The gateway's tables are not there yet (${message}); apply the migrations first.`, {
        cause: error,
      });
    if (!isDatabaseUnavailable(error) && !isLoginRefused(error)) throw error;
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${message}`, { cause: error });
  }
}

/** Runs one pass, notes its success, and logs it when it moved anything. */
async function passOf(
  job: string,
  deps: { readonly db: DatabaseClient; readonly logger: Logger },
  pass: () => Promise<object>,
): Promise<void> {
  const result = await pass();
  await recordPass(deps.db, job);
  const moved = Object.values(result).some((value) => typeof value === "number" && value > 0);
  if (moved) deps.logger.info({ job, ...result }, "job.done");
}

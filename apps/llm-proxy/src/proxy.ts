import { checkDatabase, type DatabaseClient, type DatabaseOptions, isTableMissing, openDatabase, ProcessLock } from "@proliferate/db";
import { type Lifecycle, listen, type Logger } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import { LimitedKeys } from "@proliferate/access/limits";
import { type AdmittedAttempt, INSTANCE_LOCK_CLASS, nextInstanceId } from "@proliferate/access/requests";
import { Catalogue } from "./catalogue/catalogue.ts";
import type { ModelConfig } from "./config/load-model-config.ts";
import type { ModelTable } from "./config/model-table.ts";
import { ADMISSION_WAIT_LIMITS, AdmissionQueue, type AdmissionWaitLimits } from "./data-plane/admission-queue.ts";
import { Checkpoints } from "./data-plane/checkpoints.ts";
import type { DataPlaneDeps } from "./data-plane/deps.ts";
import { DetachedReads, type DetachedReadSettings } from "./data-plane/detached-reads.ts";
import { FairReads } from "./http/fair-reads.ts";
import { HeldAnswers } from "./data-plane/held-answers.ts";
import type { UnjudgedPolicy } from "./data-plane/judge.ts";
import { LimitWarnings } from "./data-plane/limit-warnings.ts";
import { LostAdmissions } from "./data-plane/lost-admissions.ts";
import { Pings } from "./data-plane/pings.ts";
import { outcomeOfDead, recoverOrphans, startUpkeep } from "./data-plane/recover.ts";
import { createDataPlane, type DataPlane } from "./data-plane/server.ts";
import { Settler } from "./data-plane/settle.ts";
import { drainingPart, Shutdown } from "./data-plane/shutdown.ts";
import { Translator } from "./translation/translator.ts";
import { UPLOAD_LIMITS, type UploadLimits, Uploads } from "./data-plane/uploads.ts";
import { Upstreams } from "./data-plane/upstream.ts";
import { openLimitMemory } from "./exhausted/open-limit-memory.ts";
import type { Grace, GraceSettings } from "./grace/grace.ts";
import { openGrace } from "./grace/open-grace.ts";
import { createProxyMetricsPage } from "./metrics/metrics-page.ts";
import { ProxyMetrics } from "./metrics/proxy-metrics.ts";
import { boundIdleConnections } from "./http/idle-connections.ts";
import { InFlight } from "./http/in-flight.ts";
import { createManagementHandler, createManagementServer } from "./management/server.ts";

/** How many connections of callers stay open at once. */
export interface ConnectionLimits {
  /** Further ones are closed at once. */
  readonly most: number;
  /** Of them, those that do nothing: the longest idle is closed for the next. */
  readonly mostIdle: number;
}

/** All that a proxy is started with. */
interface ProxyOptions {
  readonly database: DatabaseOptions;
  /** The same database by an address that keeps its session, for the process lock. Default: `database`. */
  readonly directDatabase?: DatabaseOptions;
  readonly config: ModelConfig;
  readonly masterKey: string;
  /** Opens `/metrics` of the management port to other machines. */
  readonly metricsToken?: string | undefined;
  readonly dataPlane: { readonly port: number; readonly host: string };
  /** `isShared`: on the data plane's port, too. */
  readonly management: { readonly port: number; readonly host: string; readonly isShared?: boolean };
  /** How long answers may go on after the process was told to stop. */
  readonly drainMs: number;
  readonly detachedReads: DetachedReadSettings;
  readonly admissionWait?: AdmissionWaitLimits;
  readonly unjudged?: UnjudgedPolicy;
  /** Serves known keys while the database is away. Default: nobody is served then. */
  readonly grace?: GraceSettings | undefined;
  /** By which proxies tell each other which limits are used up. Default: nothing is remembered. */
  readonly redisUrl?: string | undefined;
  /** Models are served in dialects that their provider does not speak. Default true. */
  readonly translates?: boolean;
  /** Default: {@link UPLOAD_LIMITS}. */
  readonly uploads?: UploadLimits;
  /** Connections of callers; default: no limit. */
  readonly connections?: ConnectionLimits;
}

/** The listener's own limit lies behind all that `drainingPart` does. */
const LISTENER_MARGIN_MS = 5_000;
/** A count is a fraction of a second of the provider's; an agent asks for one at a time. */
const COUNTS_AT_ONCE = { perKey: 8, total: 128 };
/** A request that is on its way when the process is told to stop has arrived by then. */
const LONGEST_IDLE_GRACE_MS = 1_000;
/** A caller's connection on which nothing moved for this long, or for twice the providers' time-out, is cut. */
const LEAST_SILENCE_MS = 60_000;

/**
 * Starts every part in the order in which they need each other; `lifecycle` stops them in reverse: listeners first, then
 * what is in flight, the database last. Attempts of dead processes are settled before the first request is taken.
 */
export async function startProxy(
  options: ProxyOptions,
  lifecycle: Lifecycle,
  logger: Logger,
): Promise<{ readonly dataPlane: number; readonly management: number }> {
  const { config, masterKey } = options;
  if (config.ignoredSettings.length > 0) logger.warn({ settings: config.ignoredSettings }, "config.ignored_settings");
  const catalogue = new Catalogue([{ name: "litellm/config.yaml", deployments: config.models.list() }], options);
  reportModels(catalogue.current.everybody, logger);
  await checkDatabase(options.database);
  const db = openDatabase({ ...options.database, applicationName: "llm-proxy" });
  lifecycle.own("database", { stop: () => db.destroy() });
  const instanceId = await enrol(db);
  const processLock = await holdProcessLock(instanceId, options, { lifecycle, logger });
  const recovery = { db, logger, catalogue, instanceId };
  // What cannot be recovered now is tried again by the upkeep; it is no reason not to serve.
  await recoverOrphans(recovery).catch((error: unknown) => logger.error({ error: String(error) }, "recover.failed"));
  const uploads = new Uploads(options.uploads ?? UPLOAD_LIMITS);
  const heldAnswers = new HeldAnswers();
  const reads = new FairReads();
  heldAnswers.read(() => reads.heldBytes);
  const metrics = new ProxyMetrics({
    models: () => catalogue.current.everybody,
    held: { bodies: () => uploads.memory.held, answers: () => heldAnswers.bytes },
  });
  lifecycle.own("upkeep", startUpkeep({ ...recovery, budgetLeader: processLock.leader("reset_budgets"), registry: metrics.registry }));
  const queue = new AdmissionQueue(options.admissionWait ?? ADMISSION_WAIT_LIMITS);
  const { grace, settler } = await startSettling(options, { ...recovery, lifecycle, metrics, queue });
  const following = followAnswers({ db, logger, metrics, lifecycle });
  const admissions = watchAdmissions(options, { db, logger, metrics, lifecycle });
  const upstreams = lifecycle.own("upstreams", new Upstreams({ timeoutMs: config.router.timeoutMs, reads }));

  const shutdown = new Shutdown();
  const manage = createManagementHandler({
    db,
    catalogue,
    logger,
    masterKey,
    shutdown,
    grace,
    onEdited: () => admissions.limitMemory?.forgetAll(),
    metrics: createProxyMetricsPage({ db, metrics, instanceId }),
    metricsToken: options.metricsToken,
  });
  const management = lifecycle.own(
    "management",
    await listen(createManagementServer(manage, logger), { ...options.management, portVariable: "LLM_PROXY_ADMIN_PORT" }),
  );
  const dataPlane = createDataPlane({
    db,
    logger,
    catalogue,
    upstreams,
    uploads,
    heldAnswers,
    counts: new InFlight(COUNTS_AT_ONCE),
    retries: { count: config.router.retries, afterMs: config.router.retryAfterMs },
    detachedReads: new DetachedReads(options.detachedReads),
    ...following,
    settler,
    queue,
    ...admissions,
    unjudged: options.unjudged ?? "refuse",
    grace,
    shutdown,
    instanceId,
    masterKey,
    manage: options.management.isShared ? manage : undefined,
  });
  metrics.observe(dataPlane.server);
  return { dataPlane: await serveDataPlane(dataPlane, options, { shutdown, lifecycle }), management: management.port };
}

/** What looks at the answers that run, and writes their requests anew. */
function followAnswers({
  db,
  logger,
  metrics: { registry },
  lifecycle,
}: Pick<SettlingParts, "db" | "logger" | "lifecycle" | "metrics">): Pick<DataPlaneDeps, "checkpoints" | "pings" | "translator"> {
  return {
    translator: lifecycle.own("translator", new Translator()),
    checkpoints: lifecycle.own("checkpoints", new Checkpoints({ db, logger, registry })),
    pings: lifecycle.own("pings", new Pings({ logger, registry })),
  };
}

/** What is remembered of admissions, and what follows from them later. */
function watchAdmissions(
  { redisUrl, masterKey, database: { connectionString } }: ProxyOptions,
  parts: Pick<SettlingParts, "db" | "logger" | "lifecycle" | "metrics">,
): Pick<DataPlaneDeps, "limitedKeys" | "limitMemory" | "limitWarnings" | "lostAdmissions"> {
  const { lifecycle, metrics } = parts;
  const watching = { ...parts, registry: metrics.registry };
  return {
    limitedKeys: new LimitedKeys(),
    limitMemory: redisUrl === undefined ? undefined : openLimitMemory({ ...parts, redisUrl, connectionString, masterKey }),
    limitWarnings: lifecycle.own("limit warnings", new LimitWarnings(watching)),
    lostAdmissions: lifecycle.own("lost admissions", new LostAdmissions(watching)),
  };
}

/** What settling stands on. */
interface SettlingParts {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  readonly catalogue: Catalogue;
  readonly instanceId: number;
  readonly lifecycle: Lifecycle;
  readonly metrics: ProxyMetrics;
  readonly queue: AdmissionQueue;
}

/**
 * Settles by the store, or into the spool of grace what was admitted without it; who waits for what that gives back is tried again. What dead
 * processes left in the spool is on record before the first request is taken.
 */
async function startSettling(
  options: ProxyOptions,
  parts: SettlingParts,
): Promise<{ readonly grace: Grace | undefined; readonly settler: Settler }> {
  const { db, logger, lifecycle, metrics, queue } = parts;
  const onReleased = (attempt: Pick<AdmittedAttempt, "key_hash" | "team_id" | "user_id">): void => queue.settled(attempt);
  if (!options.grace) return { grace: undefined, settler: lifecycle.own("settler", new Settler({ db, logger, metrics, onReleased })) };
  const grace = await openGrace({
    ...parts,
    settings: options.grace,
    database: options.database,
    onReleased,
    outcomeOfDead: (attempt) => outcomeOfDead(parts, { ...attempt, checkpoint: null, checkpointed_at: null }),
  });
  const settler = new Settler({
    db,
    logger,
    metrics,
    spool: async (attempt, outcome) => grace.settle(attempt, outcome),
    onReleased: (attempt) => {
      grace.touched(attempt);
      onReleased(attempt);
    },
  });
  return { grace, settler: lifecycle.own("settler", settler) };
}

/** The lock that says that this process lives. */
async function holdProcessLock(
  instanceId: number,
  options: ProxyOptions,
  { lifecycle, logger }: { readonly lifecycle: Lifecycle; readonly logger: Logger },
): Promise<ProcessLock> {
  return lifecycle.own(
    "process lock",
    await ProcessLock.hold({
      ...(options.directDatabase ?? options.database),
      lockClass: INSTANCE_LOCK_CLASS,
      lockId: instanceId,
      onLost: (error) => logger.error({ error: String(error) }, "process_lock.lost"),
      onHeld: () => logger.info({}, "process_lock.held"),
    }),
  );
}

/** Opens the data plane's listener within its bounds; `lifecycle` drains it. Answers its port. */
async function serveDataPlane(
  dataPlane: DataPlane,
  options: ProxyOptions,
  { shutdown, lifecycle }: { readonly shutdown: Shutdown; readonly lifecycle: Lifecycle },
): Promise<number> {
  // A caller that neither reads nor leaves would hold its reservation for ever.
  dataPlane.server.timeout = Math.max(2 * options.config.router.timeoutMs, LEAST_SILENCE_MS);
  if (options.connections) dataPlane.server.maxConnections = options.connections.most;
  boundIdleConnections(dataPlane.server, options.connections?.mostIdle ?? Number.POSITIVE_INFINITY);
  const { drainMs } = options;
  const data = await listen(dataPlane.server, {
    ...options.dataPlane,
    portVariable: "LLM_PROXY_PORT",
    drainTimeoutMs: drainMs + LISTENER_MARGIN_MS,
    idleGraceMs: Math.min(LONGEST_IDLE_GRACE_MS, drainMs / 10),
  });
  lifecycle.own("data plane", drainingPart({ shutdown, listener: data, idle: () => dataPlane.idle(), drainMs }));
  return data.port;
}

/** What an operator has to know of the model list before callers find it out. */
function reportModels(models: ModelTable, logger: Logger): void {
  const retiring = models.retiring(new Date()).map(({ modelName, retiresOn }) => `${modelName} (${retiresOn})`);
  if (retiring.length > 0) logger.warn({ models: retiring }, "config.models_retiring");
  const unpriced = models
    .list()
    .filter(({ prices }) => !prices)
    .map(({ modelName }) => modelName);
  if (unpriced.length > 0) logger.warn({ models: unpriced }, "config.models_unpriced");
}

/** The first statement that runs: it finds out whether there is a database, and whether it is ours. */
async function enrol(db: DatabaseClient): Promise<number> {
  try {
    return await nextInstanceId(db);
  } catch (error) {
    if (isTableMissing(error)) {
      throw new AppError("migration_failed", "The database has no tables of the gateway; run its migrations first.", { cause: error });
    }
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${(error as Error).message}`, { cause: error });
  }
}

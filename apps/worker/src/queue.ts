import { applySettings, DEAD_PEER_SETTINGS, isForbidden, KEEP_ALIVE, plainSslMode } from "@proliferate/db";
import { startLoop, type Stoppable } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import {
  assertSchemaCompatibility,
  createPostgresBackend,
  LATEST_SCHEMA_VERSION,
  type PgPool,
  Queue,
  runMigrations,
  SchemaMigrationRequiredError,
  withBackend,
  Worker,
} from "bullmq";
import { Redis } from "ioredis";
import pg from "pg";

/** Where the schedules are kept. */
export type QueueBackend = "postgres" | "redis";

/** Where the queue's backend is, and who is told of failures. */
export interface JobQueueOptions {
  /** Where the schedules are kept when there is no Redis; in a schema of their own, `bullmq`. No pooler in transaction mode: each job listens. */
  readonly databaseUrl: string;
  readonly redisUrl?: string | undefined;
  /** Keeps deployments on one Redis apart; processes of one deployment give the same. */
  readonly deploymentId: string;
  /** Told when a job threw, and when the queue's own connection failed; both go on by themselves. */
  readonly onError: (error: unknown, job: string) => void;
}

/** Runs jobs at intervals, on one of the processes that share the queue. Only a trigger: no money state lives in it. */
export interface JobQueue extends Stoppable {
  readonly backend: QueueBackend;
  /**
   * Runs `job` about every `intervalMs`, the first time at once, on any one process that named it. Within a process a job
   * never overlaps itself; across processes, and after a crash, it may, so it must not mind. A job that throws is reported
   * and runs again at its next tick.
   */
  every(name: string, intervalMs: number, job: () => Promise<void>): Promise<void>;
}

/** Of its tables in PostgreSQL. */
export const QUEUE_SCHEMA = "bullmq";
const REDIS_TIMEOUT_MS = 8_000;
/** Beyond the one connection that each job keeps for LISTEN: what takes and finishes jobs. */
const SPARE_CONNECTIONS = 3;
const CONNECT_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 3_000;
/** A schedule that somebody lost (a flushed Redis, a restored database) is there again after this many missed ticks. */
const MISSED_TICKS = 4;
const ONE_AT_A_TIME = { autorun: false, concurrency: 1, removeOnComplete: { count: 20 }, removeOnFail: { count: 20 } } as const;
/** After an error of its own a queue rests for so long: BullMQ asks again at once where it is not the connection that failed. */
const REST_MS = 1_000;

/**
 * Opens the queue on Redis when there is a URL, else on PostgreSQL, whose tables it makes first where they are not there. Throws
 * `redis_unreachable` or `database_unreachable`, and `database_forbidden` where its role may not make them.
 */
export async function openJobQueue(options: JobQueueOptions): Promise<JobQueue> {
  return options.redisUrl ? openOnRedis(options.redisUrl, options) : openOnPostgres(options);
}

/** BullMQ waits for a Redis that is away without an end; at the start that would hide a wrong URL. */
async function checkRedis(url: string): Promise<void> {
  const redis = new Redis(url, { lazyConnect: true, connectTimeout: REDIS_TIMEOUT_MS, maxRetriesPerRequest: 0, retryStrategy: () => null });
  // The reason comes as an event; the rejected promise says only that the connection is closed.
  let reason: Error | undefined;
  redis.on("error", (error) => (reason ??= error));
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    throw new AppError("redis_unreachable", `Redis cannot be reached: ${(reason ?? (error as Error)).message}`, { cause: error });
  } finally {
    redis.disconnect();
  }
}

interface ScheduledQueue {
  /** Connects, and only then takes jobs. Rejects when it cannot connect: BullMQ would remember that for ever, and try again without a pause. */
  begin(): Promise<void>;
  /** Puts the schedule there; one that is there already is left as it is. */
  schedule(): Promise<void>;
  close(): Promise<void>;
}

type OpenQueue = (name: string, process: () => Promise<void>, intervalMs: number) => ScheduledQueue;

async function openOnPostgres(options: JobQueueOptions): Promise<JobQueue> {
  const pool = openPool(options.databaseUrl);
  // Each queue and each worker listens to the pool, too: more of them than Node takes for a leak.
  pool.setMaxListeners(0);
  pool.on("error", (error) => options.onError(error, "queue"));
  // A worker on a schema without tables would spin in errors.
  await makeTables(pool).catch(async (error: unknown) => {
    await pool.end();
    throw error;
  });
  const postgres = withBackend(createPostgresBackend);
  // BullMQ and pg declare the same object with different optional fields; nothing is converted.
  const connection = pool as unknown as PgPool;
  const open: OpenQueue = (name, process, intervalMs) => {
    // Each job keeps one connection for LISTEN. The pool grows by one with each job, so some connection is always free.
    pool.options.max += 1;
    const queue = new postgres.Queue(name, { connection });
    const worker = new postgres.Worker(name, process, { connection, ...ONE_AT_A_TIME });
    return watch({ queue, worker, name, intervalMs, onError: options.onError });
  };
  return new ScheduledJobs("postgres", open, options, () => pool.end());
}

/** One pool for all; it grows with each job. Whoever waits for a connection in vain is told, and that is logged. */
function openPool(databaseUrl: string): pg.Pool {
  return new pg.Pool({
    connectionString: plainSslMode(databaseUrl),
    max: SPARE_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    ...KEEP_ALIVE,
    application_name: "llm-gateway-queue",
    onConnect: (client: pg.ClientBase) => applySettings(client, { search_path: QUEUE_SCHEMA, ...DEAD_PEER_SETTINGS }),
  });
}

/** Makes the queue's tables in PostgreSQL, or brings them up to date. Idempotent. Throws as `openJobQueue` does. */
export async function migrateQueue(databaseUrl: string): Promise<void> {
  const pool = openPool(databaseUrl);
  await makeTables(pool).finally(() => pool.end());
}

/** Changes nothing where they are up to date, so that a role without the right to make them passes then. */
async function makeTables(pool: pg.Pool): Promise<void> {
  const client = await pool.connect().catch((error: unknown) => {
    throw new AppError("database_unreachable", `PostgreSQL cannot be reached: ${(error as Error).message}`, { cause: error });
  });
  try {
    if (!(await areTablesCurrent(client))) await runMigrations(client);
  } catch (error) {
    const { message } = error as Error;
    if (isForbidden(error))
      throw new AppError(
        "database_forbidden",
        `This role may not make or use the queue's tables in the schema ${QUEUE_SCHEMA} (${message}); the owner makes them with node scripts/migrate.ts.`,
        { cause: error },
      );
    throw new AppError("migration_failed", `The queue's tables cannot be made: ${message}`, { cause: error });
  } finally {
    client.release();
  }
}

async function areTablesCurrent(client: pg.PoolClient): Promise<boolean> {
  try {
    return (await assertSchemaCompatibility(client)) >= LATEST_SCHEMA_VERSION;
  } catch (error) {
    if (error instanceof SchemaMigrationRequiredError) return false;
    throw error;
  }
}

async function openOnRedis(url: string, options: JobQueueOptions): Promise<JobQueue> {
  await checkRedis(url);
  const connection = { url, maxRetriesPerRequest: null };
  const prefix = `llm-gateway:${options.deploymentId}`;
  const open: OpenQueue = (name, process, intervalMs) => {
    const queue = new Queue(name, { connection, prefix });
    const worker = new Worker(name, process, { connection, prefix, ...ONE_AT_A_TIME });
    return watch({ queue, worker, name, intervalMs, onError: options.onError });
  };
  return new ScheduledJobs("redis", open, options, async () => undefined);
}

/** What both kinds of queue and worker have in common, as far as it is used here. */
interface Parts {
  readonly queue: {
    upsertJobScheduler(id: string, repeat: { every: number }, template: { name: string }): Promise<unknown>;
    on(event: "error", listener: (error: Error) => void): unknown;
    waitUntilReady(): Promise<unknown>;
    close(): Promise<void>;
  };
  readonly worker: {
    on(event: "error", listener: (error: Error) => void): unknown;
    waitUntilReady(): Promise<unknown>;
    run(): Promise<void>;
    pause(doNotWaitActive: boolean): Promise<void>;
    resume(): Promise<void>;
    close(): Promise<void>;
  };
  readonly name: string;
  readonly intervalMs: number;
  readonly onError: (error: unknown, job: string) => void;
}

function watch({ queue, worker, name, intervalMs, onError }: Parts): ScheduledQueue {
  const report = (error: Error): void => onError(error, name);
  let waking: NodeJS.Timeout | undefined;
  const wake = (): void => {
    waking = undefined;
    void worker.resume().catch(report);
  };
  const rest = (error: Error): void => {
    report(error);
    if (waking !== undefined) return;
    waking = setTimeout(wake, REST_MS);
    void worker.pause(true).catch(report);
  };
  queue.on("error", report);
  worker.on("error", rest);
  return {
    begin: async () => {
      await queue.waitUntilReady();
      await worker.waitUntilReady();
      worker.run().catch(report);
    },
    schedule: async () => void (await queue.upsertJobScheduler(name, { every: intervalMs }, { name })),
    close: async () => {
      clearTimeout(waking);
      await worker.close();
      await queue.close();
    },
  };
}

class ScheduledJobs implements JobQueue {
  readonly backend: QueueBackend;
  readonly #open: OpenQueue;
  readonly #options: JobQueueOptions;
  readonly #closeConnection: () => Promise<void>;
  readonly #queues: ScheduledQueue[] = [];
  readonly #guards: Stoppable[] = [];
  /** Resolved when a stop has waited long enough: a job that still runs counts as done, and the next pass repeats it. */
  readonly #abandoned = Promise.withResolvers<void>();
  #stopping: Promise<void> | undefined;

  constructor(backend: QueueBackend, open: OpenQueue, options: JobQueueOptions, closeConnection: () => Promise<void>) {
    this.backend = backend;
    this.#open = open;
    this.#options = options;
    this.#closeConnection = closeConnection;
  }

  async every(name: string, intervalMs: number, job: () => Promise<void>): Promise<void> {
    let ranAt = performance.now();
    const run = async (): Promise<void> => {
      ranAt = performance.now();
      const done = job().catch((error: unknown) => this.#options.onError(error, name));
      await Promise.race([done, this.#abandoned.promise]);
    };
    const queue = this.#open(name, run, intervalMs);
    this.#queues.push(queue);
    await queue.begin();
    await queue.schedule();
    const guard = async (): Promise<void> => {
      if (performance.now() - ranAt < MISSED_TICKS * intervalMs) return;
      await queue.schedule();
    };
    const onError = (error: unknown): void => this.#options.onError(error, name);
    this.#guards.push(startLoop(`schedule_${name}`, MISSED_TICKS * intervalMs, guard, { first: "after a pause", onError }));
  }

  async stop(): Promise<void> {
    this.#stopping ??= (async () => {
      const guards = this.#guards.map((guard) => guard.stop());
      const timer = setTimeout(() => this.#abandoned.resolve(), STOP_TIMEOUT_MS);
      await Promise.all(this.#queues.map((queue) => queue.close()));
      clearTimeout(timer);
      // A guard may have asked its queue a moment ago. The queue's connections are closed by now, so that question has failed and the guard ends.
      await Promise.race([Promise.all(guards), this.#abandoned.promise]);
      await this.#closeConnection();
    })();
    return this.#stopping;
  }
}

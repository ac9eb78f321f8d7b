import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { DatabaseClient } from "@proliferate/db";
import { isObserver, type Logger, type Registry, requestTarget, safeListener } from "@proliferate/runtime";
import { readPasses } from "@proliferate/services/passes";
import { getBillingStatus } from "@proliferate/services/reports";
import { createWorkerMetrics } from "./metrics.ts";
import { errorFacts } from "./problem-log.ts";
import type { QueueBackend } from "./queue.ts";

/** What the worker's health server shows. */
export interface HealthDeps {
  readonly db: DatabaseClient;
  readonly logger: Pick<Logger, "error">;
  /** Opens `/metrics` and `/status` to other machines. */
  readonly metricsToken?: string | undefined;
  readonly queueBackend: QueueBackend;
  /** Interval of each job, by its name. */
  readonly jobs: Readonly<Record<string, number>>;
  /** What this process counts; shown by `/metrics`. */
  readonly counted?: Registry | undefined;
}

/** Whether a job succeeds as often as it should. Instants are ISO 8601 in UTC. */
interface JobHealth {
  readonly job: string;
  readonly interval_ms: number;
  /** Of the last pass that ran to its end, on whichever worker; null before the first. */
  readonly last_success_at: string | null;
  readonly age_ms: number | null;
  readonly late: boolean;
}

/** A pass may take long and the queue may be slow; this much beyond three intervals is a fault. */
const GRACE_MS = 60_000;

/**
 * `/livez`: the process answers. `/readyz`: the database answers and every job succeeded lately, on whichever worker; 503
 * names what is not so. `/status`: lags, states and sums as JSON. `/metrics`: the same for Prometheus; these two for this
 * machine and the token only. GET only. Nothing that is sent here can end the process.
 */
export function createHealthServer(deps: HealthDeps): Server {
  const metrics = createWorkerMetrics(deps);
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { path } = requestTarget(request.url);
    if (request.method !== "GET" || !PATHS.includes(path))
      return reply(response, 404, { error: { code: "not_found", message: "This port serves GET /livez, /readyz, /status and /metrics." } });
    if (OBSERVED_PATHS.includes(path) && !mayObserve(deps, request))
      return reply(response, 401, {
        error: { code: "unauthorized", message: `${path} answers this machine, or a bearer token that is METRICS_TOKEN.` },
      });
    if (path === "/metrics") return void response.writeHead(200, { "content-type": metrics.contentType }).end(await metrics.text());
    const answer = await ROUTES[path]?.(deps).catch((error: unknown) => ({
      status: 503,
      body: { status: "unavailable", problems: [{ part: "database", ...errorFacts(error) }] },
    }));
    reply(response, answer?.status ?? 404, answer?.body);
  };
  return createServer(safeListener(handle, (error) => deps.logger.error({ error: String(error) }, "health.failed")));
}

function mayObserve({ metricsToken }: HealthDeps, { headers, socket }: IncomingMessage): boolean {
  return isObserver({ headers, remoteAddress: socket.remoteAddress }, metricsToken);
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const ROUTES: Readonly<Record<string, (deps: HealthDeps) => Promise<Answer>>> = {
  "/livez": async () => ({ status: 200, body: { status: "ok" } }),
  "/readyz": async (deps) => {
    const jobs = await readJobs(deps);
    const problems = jobs
      .filter((job) => job.late)
      .map((job) => ({ part: job.job, code: "late", message: job.age_ms === null ? "no pass yet" : `last success ${job.age_ms} ms ago` }));
    return { status: problems.length === 0 ? 200 : 503, body: { status: problems.length === 0 ? "ok" : "unavailable", problems, jobs } };
  },
  "/status": async (deps) => {
    const [jobs, billing] = await Promise.all([readJobs(deps), getBillingStatus(deps.db)]);
    return { status: 200, body: { queue: deps.queueBackend, jobs, billing } };
  },
};

const OBSERVED_PATHS: readonly string[] = ["/status", "/metrics"];
const PATHS: readonly string[] = [...Object.keys(ROUTES), "/metrics"];

async function readJobs(deps: HealthDeps): Promise<readonly JobHealth[]> {
  const passes = await readPasses(deps.db);
  return Object.entries(deps.jobs).map(([job, intervalMs]) => {
    const pass = passes.find((row) => row.job === job);
    return {
      job,
      interval_ms: intervalMs,
      last_success_at: pass?.succeeded_at.toISOString() ?? null,
      age_ms: pass?.age_ms ?? null,
      late: pass === undefined || pass.age_ms > 3 * intervalMs + GRACE_MS,
    };
  });
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json; charset=utf-8" }).end(`${JSON.stringify(body)}\n`);
}

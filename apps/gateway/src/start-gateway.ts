import type { Server } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import { ChannelListener, checkDatabase, type DatabaseOptions, openDatabase, ProcessLock } from "@proliferate/db";
import { type Lifecycle, listen, type Logger, Registry } from "@proliferate/runtime";
import { INSTANCE_LOCK_CLASS, nextInstanceId } from "@proliferate/access/requests";
import { requireEngineFeatures } from "@proliferate/services/engines";
import { createSessionAdmission } from "@proliferate/services/key-budgets";
import type { StepListener, WatchOptions } from "@proliferate/services/sessions";
import type { LLMProxyConfig } from "@proliferate/shared";
import type { GatewayDependencies } from "./dependencies.ts";
import type { GatewayConfig } from "./env.ts";
import { engineDemands } from "./engine-demands.ts";
import { openLaunchers } from "./surfaces/sessions/launchers.ts";
import { connectLLMProxy } from "./llm-proxy.ts";
import { ReportRoom } from "./report-room.ts";
import { createServer } from "./server.ts";
import type { Audience } from "./surface.ts";
import { SESSION_EVENT_CHANNEL, SessionEventSignal } from "./session-event-signal.ts";
import { startUpkeep } from "./upkeep.ts";

interface GatewayOptions {
  readonly config: GatewayConfig;
  readonly proxy: LLMProxyConfig;
  /** Told of each step of a session, and waited for; a test stops the process here. */
  readonly onStep?: StepListener;
  /** Pause between two repairs of what dead gateways left. Default 10 s. */
  readonly upkeepEveryMs?: number;
  /** How the agents of sessions are watched; what is absent is as the configuration has it. */
  readonly agentWatch?: WatchOptions;
}

const REPORT_CONNECTIONS = 3;

/**
 * Asks nothing of an engine that cannot do it (`engine_lacks_feature`). Starts every part in the order in which they need each
 * other; `lifecycle` stops them in reverse. A stop aborts the launches that are under way, which end their sessions; sandboxes
 * that are ready run on.
 */
export async function startGateway(
  { config, proxy: proxyConfig, onStep, upkeepEveryMs, agentWatch }: GatewayOptions,
  lifecycle: Lifecycle,
  logger: Logger,
): Promise<{ readonly gateway: number; readonly operators?: number }> {
  requireEngineFeatures(config.engine, engineDemands(config));
  const proxy = connectLLMProxy(proxyConfig);
  const { pooled, direct } = config.database;
  await checkDatabase(pooled);
  const db = openDatabase({
    ...pooled,
    applicationName: "gateway",
    onIdleError: (error) => logger.warn({ error: error.message }, "database.connection_lost"),
  });
  lifecycle.own("database", { stop: () => db.destroy() });
  const reportsDb = openDatabase({
    ...pooled,
    maxConnections: REPORT_CONNECTIONS,
    applicationName: "gateway reports",
    onIdleError: (error) => logger.warn({ error: error.message }, "database.connection_lost"),
  });
  lifecycle.own("reports", { stop: () => reportsDb.destroy() });
  const instanceId = await nextInstanceId(db);
  lifecycle.own(
    "process lock",
    await ProcessLock.hold({
      ...direct,
      lockClass: INSTANCE_LOCK_CLASS,
      lockId: instanceId,
      onLost: (error) => logger.error({ error: String(error) }, "process_lock.lost"),
    }),
  );
  const admission = config.billingGate === "enforce" ? createSessionAdmission(db) : undefined;
  const sandboxes = lifecycle.own("launches", await openLaunchers(db, config.sandboxes, logger, onStep));
  const counted = new Registry();
  const onProblem = (problem: { readonly sessionId: string; readonly message: string }): void =>
    logger.error(problem, "launch.cleanup_failed");
  lifecycle.own(
    "upkeep",
    startUpkeep({ db, keys: proxy.keys, admission, sandboxes, instanceId, onProblem }, logger, {
      everyMs: upkeepEveryMs,
      watch: { silentMs: config.sandboxes.agentPatienceMs, readyTimeoutMs: config.sandboxes.readyTimeoutMs, ...agentWatch },
      registry: counted,
    }),
  );
  const sessionEvents = new SessionEventSignal();
  lifecycle.own("notices", listenToSessions(direct, sessionEvents, logger));
  const dependencies: GatewayDependencies = {
    db,
    reports: new ReportRoom({ db: reportsDb }),
    logger,
    proxy,
    apiTokens: config.apiTokens,
    metricsToken: config.metricsToken,
    defaultModel: config.defaultModel,
    smallModel: config.smallModel,
    admission,
    sandboxes,
    instanceId,
    counted,
    comparison: config.comparison,
    sessionEvents,
    autumnWebhookSecrets: config.autumnWebhookSecrets,
  };
  return startListeners(dependencies, config, lifecycle);
}

/** One listener for all, or one for tenants and one for operators. Throws `port_in_use` naming the variable. */
async function startListeners(
  dependencies: GatewayDependencies,
  { host, port, operators }: Pick<GatewayConfig, "host" | "port" | "operators">,
  lifecycle: Lifecycle,
): Promise<{ readonly gateway: number; readonly operators?: number }> {
  const serve = (audience: Audience): Server => createAdaptorServer({ fetch: createServer(dependencies, { audience }).fetch }) as Server;
  const first = lifecycle.own(
    "http",
    await listen(serve(operators === undefined ? "joined" : "tenants"), { port, host, portVariable: "GATEWAY_PORT" }),
  );
  if (operators === undefined) return { gateway: first.port };
  const second = lifecycle.own("operators http", await listen(serve("operators"), { ...operators, portVariable: "GATEWAY_OPERATOR_PORT" }));
  return { gateway: first.port, operators: second.port };
}

/** One connection for all readers of this process, to an address that keeps its session. */
function listenToSessions(database: DatabaseOptions, signal: SessionEventSignal, logger: Logger): ChannelListener {
  return new ChannelListener({
    ...database,
    channel: SESSION_EVENT_CHANNEL,
    onNotice: (sessionId) => signal.told(sessionId),
    onHearing: () => signal.hears(true),
    onDeaf: (error) => {
      signal.hears(false);
      logger.warn({ error: error.message }, "notices.lost");
    },
  });
}

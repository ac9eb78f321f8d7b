import { isAppError } from "@proliferate/shared/errors";
import { Lifecycle } from "./lifecycle.ts";
import { createLogger, type Logger } from "./logger.ts";
import { redactSecrets } from "./redact-secrets.ts";

/** What a started process tells its parent over IPC, so that a launcher waits for readiness without polling. */
export interface ReadyMessage {
  readonly type: "ready";
  readonly ports: Readonly<Record<string, number>>;
}

/** What a process tells its parent instead of `ready`, before it exits with status 1; it holds no secret. */
export interface FailedMessage {
  readonly type: "failed";
  readonly code: string;
  readonly message: string;
}

/**
 * The outermost frame of every process: starts the parts, reports `ready`, and turns a failed start into one readable
 * line with its fix and exit status 1. An unexpected error later is logged and ends the process: a supervisor restarts
 * it, and every state it held is in the database.
 */
export async function runProcess(
  name: string,
  start: (lifecycle: Lifecycle, logger: Logger) => Promise<{ readonly ports: Readonly<Record<string, number>> }>,
): Promise<void> {
  const logger = createLogger(name, process.env["LOG_LEVEL"] ?? "info");
  const lifecycle = new Lifecycle({ logger });
  process.on("uncaughtException", (error) => {
    logger.fatal({ error: error.stack ?? String(error) }, "process.crashed");
    process.exit(1);
  });
  try {
    const { ports } = await start(lifecycle, logger);
    logger.info({ ports }, "process.ready");
    process.send?.({ type: "ready", ports } satisfies ReadyMessage);
  } catch (error) {
    const code = isAppError(error) ? error.code : "internal_error";
    const message = redactSecrets(isAppError(error) ? `${error.message} ${error.fix}` : String((error as Error).stack ?? error));
    process.stderr.write(`${name}: ${message}\n`);
    process.send?.({ type: "failed", code, message } satisfies FailedMessage);
    await lifecycle.stop();
    process.exit(1);
  }
}

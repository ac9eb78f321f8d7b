import type { Logger } from "./logger.ts";

/** Something with a life of its own: a server, a pool, a loop. `stop` is idempotent and resolves when it is over. */
export interface Stoppable {
  stop(): Promise<void>;
}

export interface LifecycleOptions {
  readonly logger: Logger;
  /** After this long the process exits anyway, with status 1. Default 10 s. */
  readonly stopTimeoutMs?: number;
}

/**
 * Owns what a process started and stops it in reverse order on SIGTERM, SIGINT, or when the parent that spawned it with
 * an IPC channel goes away (so that a killed development stack leaves nothing behind). Exit status 0 after a clean stop.
 */
export class Lifecycle {
  readonly #parts: { readonly name: string; readonly part: Stoppable }[] = [];
  readonly #options: LifecycleOptions;
  #stopping: Promise<void> | undefined;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void this.exit(signal));
    if (process.channel) process.on("disconnect", () => void this.exit("parent gone"));
  }

  /** Registers a part; returns it, so that `const server = lifecycle.own("server", await listen())` reads in one line. */
  own<Part extends Stoppable>(name: string, part: Part): Part {
    this.#parts.push({ name, part });
    return part;
  }

  async stop(): Promise<void> {
    this.#stopping ??= (async () => {
      for (const { name, part } of this.#parts.toReversed()) {
        await part.stop().catch((error: unknown) => this.#options.logger.error({ part: name, error: String(error) }, "stop.failed"));
      }
    })();
    return this.#stopping;
  }

  async exit(reason: string): Promise<never> {
    this.#options.logger.info({ reason }, "process.stopping");
    const timer = setTimeout(() => {
      this.#options.logger.error({ reason }, "process.stop_timed_out");
      process.exit(1);
    }, this.#options.stopTimeoutMs ?? 10_000);
    await this.stop();
    clearTimeout(timer);
    process.exit(0);
  }
}

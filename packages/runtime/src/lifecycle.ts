import type { Logger } from "./logger.ts";

/** Something with a life of its own: a server, a pool, a loop. `stop` is idempotent and resolves when it is over. */
export interface Stoppable {
  stop(): Promise<void>;
  /** How long `stop` may rightly wait for others (streams that run on, say). Default 0. */
  readonly drainMs?: number;
  /** Told by a second signal while `stop` runs: ends at once what that waits for. */
  hurry?(): void;
}

/** How a {@link Lifecycle} reports, and how long it waits. */
interface LifecycleOptions {
  readonly logger: Logger;
  /** After this long, and what the parts drain, the process exits anyway, with status 1. Default 10 s. */
  readonly stopTimeoutMs?: number;
}

/**
 * Owns what a process started and stops it in reverse order on SIGTERM, SIGINT, or when the parent that spawned it with
 * an IPC channel goes away (so that a killed development stack leaves nothing behind). A second signal ends the waiting for
 * others, and so does a parent that is gone. Exit status 0 after a clean stop.
 */
export class Lifecycle {
  readonly #parts: { readonly name: string; readonly part: Stoppable }[] = [];
  readonly #options: LifecycleOptions;
  #stopping: Promise<void> | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void this.exit(signal));
    if (!process.channel) return;
    process.on("disconnect", () => {
      void this.exit("parent gone");
      this.#hurry("parent gone");
    });
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

  /** Stops, then exits. Asked again while it stops, it hurries, and resolves never. */
  async exit(reason: string): Promise<void> {
    if (this.#deadline) return this.#hurry(reason);
    this.#options.logger.info({ reason }, "process.stopping");
    this.#setDeadline(reason, Math.max(0, ...this.#parts.map(({ part }) => part.drainMs ?? 0)));
    await this.stop();
    process.exit(0);
  }

  #hurry(reason: string): void {
    this.#options.logger.info({ reason }, "process.stopping_at_once");
    this.#setDeadline(reason, 0);
    for (const { part } of this.#parts) part.hurry?.();
  }

  #setDeadline(reason: string, drainMs: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(
      () => {
        this.#options.logger.error({ reason }, "process.stop_timed_out");
        process.exit(1);
      },
      drainMs + (this.#options.stopTimeoutMs ?? 10_000),
    );
  }
}

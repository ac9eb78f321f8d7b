import type pg from "pg";
import { connectSession, type DatabaseOptions } from "./client.ts";

export interface ProcessLockOptions extends DatabaseOptions {
  /** Together they name the lock: what kind of thing is held, and which one. */
  readonly lockClass: number;
  readonly lockId: number;
  /** The connection broke: the lock may be somebody else's until `onHeld`. */
  readonly onLost?: (error: Error) => void;
  /** The lock is held again after it was lost. */
  readonly onHeld?: () => void;
}

const RETRY_MS = { first: 100, most: 5_000 } as const;

/**
 * A session advisory lock on a connection of its own, held as long as the process lives. PostgreSQL drops it the moment
 * the process dies, so "is its owner dead?" needs neither heartbeat nor clock. A broken connection is made again, and the
 * lock taken again, until `stop()`.
 */
export class ProcessLock {
  readonly #options: ProcessLockOptions;
  #client: pg.Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  private constructor(options: ProcessLockOptions) {
    this.#options = options;
  }

  /** Resolves once the lock is held; throws when the first connection fails. */
  static async hold(options: ProcessLockOptions): Promise<ProcessLock> {
    const lock = new ProcessLock(options);
    await lock.#acquire();
    return lock;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#client?.end().catch(() => undefined);
  }

  async #acquire(): Promise<void> {
    const client = await connectSession({ ...this.#options, applicationName: "llm-gateway process lock" });
    try {
      await client.query("select pg_advisory_lock($1, $2)", [this.#options.lockClass, this.#options.lockId]);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    this.#client = client;
    client.once("end", () => this.#lost(new Error("the connection that holds the process lock ended")));
  }

  #lost(error: Error): void {
    if (this.#stopped) return;
    this.#options.onLost?.(error);
    this.#retry(RETRY_MS.first);
  }

  #retry(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#acquire().then(
        () => (this.#stopped ? void this.#client?.end() : this.#options.onHeld?.()),
        () => this.#retry(Math.min(delayMs * 2, RETRY_MS.most)),
      );
    }, delayMs);
  }
}

import type pg from "pg";
import { connectSession, type DatabaseOptions } from "./client.ts";

/** Which lock is held, and who is told when its connection breaks. */
interface ProcessLockOptions extends DatabaseOptions {
  /** Together they name the lock: what kind of thing is held, and which one. */
  readonly lockClass: number;
  readonly lockId: number;
  /** The connection broke: the lock may be somebody else's until `onHeld`. */
  readonly onLost?: (error: Error) => void;
  /** The lock is held again after it was lost. */
  readonly onHeld?: () => void;
}

/** The class of the locks by which one process of several leads; the second number is the hash of what it leads. */
const LEADER_LOCK_CLASS = 7_031_003;
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
  /** What this process leads, by name; gone with the connection. */
  readonly #led = new Set<string>();

  private constructor(options: ProcessLockOptions) {
    this.#options = options;
  }

  /** Resolves once the lock is held; throws when the first connection fails. */
  static async hold(options: ProcessLockOptions): Promise<ProcessLock> {
    const lock = new ProcessLock(options);
    await lock.#acquire();
    return lock;
  }

  /**
   * The lead in `name` among all processes of this database that ask for it: a second advisory lock on the connection of the
   * first. `lead` is true for one process, which keeps the lead until it resigns, stops, dies or loses its connection; it is
   * false while the connection is away, and throws when the server cannot be asked. A process that lost its connection
   * without noticing may believe for a moment that it leads, so what is led must bear to be done twice.
   */
  leader(name: string): { lead(): Promise<boolean>; resign(): Promise<void> } {
    return {
      lead: async () => {
        const client = this.#client;
        if (client === undefined || this.#led.has(name)) return client !== undefined;
        const { rows } = await client.query<{ held: boolean }>("select pg_try_advisory_lock($1, hashtext($2)) as held", [
          LEADER_LOCK_CLASS,
          name,
        ]);
        const isHeld = rows[0]?.held === true && this.#client === client;
        if (isHeld) this.#led.add(name);
        return isHeld;
      },
      resign: async () => {
        if (!this.#led.delete(name)) return;
        await this.#client?.query("select pg_advisory_unlock($1, hashtext($2))", [LEADER_LOCK_CLASS, name]);
      },
    };
  }

  /** Gives the lock back, and every lead. Idempotent. */
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
    this.#client = undefined;
    this.#led.clear();
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

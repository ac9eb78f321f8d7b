import { setTimeout } from "node:timers/promises";
import { type Logger, startLoop, type Stoppable } from "@proliferate/runtime";

/** Asks the store whether it takes writes now. Rejects or says false where it does not. */
type StoreProbe = () => Promise<boolean>;

interface StoreWatchOptions {
  readonly probe: StoreProbe;
  readonly logger: Logger;
  /** Told when the store is found to be back. */
  readonly onReturn: () => void;
  /** So long an answer to a probe is waited for. Default 2 s. */
  readonly patienceMs?: number;
  /** Between two looks at a store that is away. Default 500 ms. */
  readonly everyMs?: number;
}

/**
 * Knows whether the store is away. It is taken to be away when a statement failed for it, or is overdue, and then a probe on a connection of its own
 * fails, too; and to be back with the first probe that succeeds. A store that answers and refuses one statement (a lock, a full disk) is
 * not away.
 */
export class StoreWatch implements Stoppable {
  readonly #options: StoreWatchOptions;
  readonly #loop: Stoppable;
  #sinceMs: number | undefined;
  #probing: Promise<boolean> | undefined;

  constructor(options: StoreWatchOptions) {
    this.#options = options;
    this.#loop = startLoop("store_watch", options.everyMs ?? 500, async () => void (this.isAbsent && (await this.#look())), {
      first: "after a pause",
      onError: (error) => options.logger.error({ error: String(error) }, "store_watch.failed"),
    });
  }

  get isAbsent(): boolean {
    return this.#sinceMs !== undefined;
  }

  /** How long the store has been away; 0 where it is not. */
  get absentMs(): number {
    return this.#sinceMs === undefined ? 0 : performance.now() - this.#sinceMs;
  }

  /** Something says that the store is away: whether it is, after a look. */
  async isGone(): Promise<boolean> {
    if (!this.isAbsent) await this.#look();
    return this.isAbsent;
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
  }

  async #look(): Promise<void> {
    this.#probing ??= this.#probe().finally(() => (this.#probing = undefined));
    const isThere = await this.#probing;
    if (isThere === !this.isAbsent) return;
    if (!isThere) {
      this.#sinceMs = performance.now();
      return this.#options.logger.error({}, "store.absent");
    }
    this.#options.logger.warn({ absentMs: Math.round(this.absentMs) }, "store.returned");
    this.#sinceMs = undefined;
    this.#options.onReturn();
  }

  async #probe(): Promise<boolean> {
    const overdue = new AbortController();
    try {
      const late = setTimeout(this.#options.patienceMs ?? 2_000, false, { signal: overdue.signal }).catch(() => false);
      return await Promise.race([this.#options.probe().catch(() => false), late]);
    } finally {
      overdue.abort();
    }
  }
}

import { AppError } from "@proliferate/shared/errors";

/** How many of a kind of request run at once: of one key, and of all. Nothing waits here. */
export class InFlight {
  readonly #perKey: number;
  readonly #total: number;
  readonly #ofKey = new Map<string, number>();
  #running = 0;

  constructor(limits: { readonly perKey: number; readonly total: number }) {
    this.#perKey = limits.perKey;
    this.#total = limits.total;
  }

  /** Runs it, or throws `too_many_at_once` (429, the key has its share) or `gateway_busy` (503, all together have). */
  async run<Result>(key: string, task: () => Promise<Result>): Promise<Result> {
    const ofKey = this.#ofKey.get(key) ?? 0;
    if (ofKey >= this.#perKey)
      throw new AppError("too_many_at_once", `${this.#perKey} such requests of this key run already.`, { retryAfterSeconds: 1 });
    if (this.#running >= this.#total)
      throw new AppError("gateway_busy", `${this.#total} such requests run already.`, { retryAfterSeconds: 1 });
    this.#ofKey.set(key, ofKey + 1);
    this.#running += 1;
    try {
      return await task();
    } finally {
      this.#end(key);
    }
  }

  #end(key: string): void {
    this.#running -= 1;
    const left = (this.#ofKey.get(key) ?? 1) - 1;
    if (left === 0) this.#ofKey.delete(key);
    else this.#ofKey.set(key, left);
  }
}

import { setTimeout as sleep } from "node:timers/promises";

/**
 * A network card that everything of a process goes through, in one direction: over loopback a process could send so much that copying
 * alone would take the cores that are measured. Whoever asks first goes first.
 */
export class Link {
  readonly #bytesPerMs: number;
  #freeAtMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000;
  }

  /** Resolves when so many bytes may be sent. */
  async take(bytes: number): Promise<void> {
    const now = performance.now();
    const startsAt = Math.max(now, this.#freeAtMs);
    this.#freeAtMs = startsAt + bytes / this.#bytesPerMs;
    // Timers are not finer than a millisecond.
    if (startsAt > now + 1) await sleep(startsAt - now);
  }
}

import { setTimeout as sleep } from "node:timers/promises";
import type { DatabaseClient } from "@proliferate/db";
import type { Logger, Stoppable } from "@proliferate/runtime";
import { type AdmittedAttempt, type AttemptOutcome, settleAttempt } from "@proliferate/access/requests";

/** How long the end of an answer waits for a store that does not answer, where nothing else is said. */
export const HOLD_MS = 3_000;

/** What settling requests needs. */
interface SettlerOptions {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  /** How long the end of an answer waits for a store that does not answer. Default {@link HOLD_MS}. */
  readonly holdMs?: number;
  /** Told of each attempt that is over, and of each try that the store did not take. */
  readonly metrics?: { settled(attempt: AdmittedAttempt, outcome: AttemptOutcome): void; settleFailed(): void };
  /** Keeps the outcome of an attempt that was admitted without the store; false for any other. Never rejects. */
  readonly spool?: (attempt: AdmittedAttempt, outcome: AttemptOutcome) => Promise<boolean>;
  /** Told of each attempt whose reservation was given back. */
  readonly onReleased?: (attempt: AdmittedAttempt) => void;
}

/** Doubled from try to try. A store that is away for long is asked seldom: each settlement that waits is one statement. */
const RETRY_MS = { first: 50, most: 15_000 } as const;

/**
 * Settles attempts, and does not give up while the store is away: what it would not take while a caller waited is tried again
 * in the background. They are as many as answers were in flight when it went away, since nothing new is admitted without it.
 * What is left when the process ends is still on record as an attempt, and another process settles it. What the store can
 * never take, `settleAttempt` repairs by itself.
 */
export class Settler implements Stoppable {
  readonly #options: SettlerOptions;
  readonly #running = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** Resolves when the attempt is settled, or after `holdMs` while it is still being tried. Never rejects. */
  async settle(attempt: AdmittedAttempt, outcome: AttemptOutcome): Promise<void> {
    this.#options.metrics?.settled(attempt, outcome);
    const settled = this.#untilSettled(attempt, outcome);
    this.#running.add(settled);
    void settled.finally(() => this.#running.delete(settled));
    const held = Promise.withResolvers<void>();
    // A timer that is cleared, and no signal: one that is aborted makes two errors with their stacks, for every request that goes well.
    const timer = setTimeout(held.resolve, this.#options.holdMs ?? HOLD_MS);
    await Promise.race([settled, held.promise]);
    clearTimeout(timer);
  }

  /** Lets every settlement have one more try, then gives up those that the store does not take. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#running);
  }

  async #untilSettled(attempt: AdmittedAttempt, outcome: AttemptOutcome): Promise<void> {
    if (await this.#options.spool?.(attempt, outcome)) return;
    for (let delayMs: number = RETRY_MS.first; ; delayMs = Math.min(delayMs * 2, RETRY_MS.most)) {
      const isLastTry = this.#stopping.signal.aborted;
      try {
        const result = await settleAttempt(this.#options.db, attempt, outcome);
        this.#options.onReleased?.(attempt);
        if (result === "corrected") this.#options.logger.warn({ attempt: attempt.attempt_id }, "settle.corrected");
        return;
      } catch (error) {
        this.#options.logger.error({ attempt: attempt.attempt_id, error: String(error), isLastTry }, "settle.failed");
        this.#options.metrics?.settleFailed();
      }
      if (isLastTry) return;
      await this.#pause(delayMs);
    }
  }

  /** Ends early when the process stops; then nothing of it is left on the signal that outlives it. */
  async #pause(delayMs: number): Promise<void> {
    await sleep(delayMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}

import { type AdmittedAttempt, MOST_BEFORE_ADMISSION_MS } from "@proliferate/access/requests";

/**
 * Tells the time on the record of one attempt: from its start, which the database's clock gave it at admission, it goes on by the
 * monotonic clock. So a machine whose clock is wrong, or is set, dates no spend row outside of what the worker looks at. Make it
 * when the attempt was admitted.
 */
export class AttemptClock {
  readonly #startedAt: Date;
  readonly #zeroMs: number;

  /** `callStartedAtMs`: as `performance.now()`, when the request came. */
  constructor({ started_at: startedAt }: Pick<AdmittedAttempt, "started_at">, callStartedAtMs: number) {
    const nowMs = performance.now();
    this.#startedAt = startedAt;
    this.#zeroMs = nowMs - Math.min(nowMs - callStartedAtMs, MOST_BEFORE_ADMISSION_MS);
  }

  now(): Date {
    return new Date(this.#startedAt.getTime() + performance.now() - this.#zeroMs);
  }
}

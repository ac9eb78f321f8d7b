import { type AdmittedAttempt, listAttemptsById, settleAttempt } from "@proliferate/access/requests";
import { type DatabaseClient, isDatabaseUnavailable } from "@proliferate/db";
import { type Logger, type Registry, startLoop, type Stoppable } from "@proliferate/runtime";
import { outcomeOfUnsent } from "./outcome.ts";

/** What looking for lost admissions needs. */
interface LostAdmissionsOptions {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  readonly registry?: Registry;
  /** Default 10 s. */
  readonly everyMs?: number;
}

/** No statement of ours runs longer (`session-settings.ts` of `db`): what has not come on record by then never does. */
const MOST_AGE_MS = 11 * 60_000;
/** More than requests can be under way. */
const MOST_LOST = 10_000;
const BATCH = 200;

const NOT_SENT = {
  code: "store_unavailable",
  kind: "Error",
  message: "The answer of the gateway's database was lost, and the request was not sent.",
};

/**
 * Admissions whose answer was lost: the statement may have been committed, or may still be, and its caller was told that the store is
 * away. Nothing was sent, so what comes on record of them is settled as free, and holds nothing any more; while this process lives, because
 * what stays after it is settled by another as the attempt of a dead process. Asks nothing while nothing was lost.
 */
export class LostAdmissions implements Stoppable {
  readonly #options: LostAdmissionsOptions;
  /** When each was lost, by a clock that only counts. */
  readonly #lostAtMs = new Map<string, number>();
  readonly #loop: Stoppable;

  constructor(options: LostAdmissionsOptions) {
    this.#options = options;
    this.#loop = startLoop("lost_admissions", options.everyMs ?? 10_000, () => this.#settleThose(), {
      first: "after a pause",
      onError: (error) => options.logger.warn({ error: String(error) }, "lost_admissions.failed"),
      ...(options.registry && { registry: options.registry }),
    });
  }

  note(attemptId: string): void {
    if (this.#lostAtMs.size < MOST_LOST) this.#lostAtMs.set(attemptId, performance.now());
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#settleThose().catch(() => undefined);
  }

  async #settleThose(): Promise<void> {
    const { db } = this.#options;
    const ids = [...this.#lostAtMs.keys()];
    for (let from = 0; from < ids.length; from += BATCH)
      for (const attempt of await listAttemptsById(db, ids.slice(from, from + BATCH))) await this.#settle(attempt);
    for (const [id, lostAtMs] of this.#lostAtMs) if (performance.now() - lostAtMs > MOST_AGE_MS) this.#lostAtMs.delete(id);
  }

  /** One that cannot be settled keeps no other from it. Rejects only when the store is away: then none can. */
  async #settle(attempt: AdmittedAttempt): Promise<void> {
    const { db, logger } = this.#options;
    try {
      await settleAttempt(db, attempt, outcomeOfUnsent(NOT_SENT, attempt.started_at));
      this.#lostAtMs.delete(attempt.attempt_id);
      logger.warn({ attempt: attempt.attempt_id }, "admission.lost");
    } catch (error) {
      if (isDatabaseUnavailable(error)) throw error;
      logger.error({ attempt: attempt.attempt_id, error: String(error) }, "admission.lost_not_settled");
    }
  }
}

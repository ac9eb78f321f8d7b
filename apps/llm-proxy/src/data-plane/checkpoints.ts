import { type DatabaseClient, isDatabaseUnavailable } from "@proliferate/db";
import { type Logger, type LoopOptions, startLoop, type Stoppable } from "@proliferate/runtime";
import { type AttemptCheckpoint, checkpointAttempts } from "@proliferate/access/requests";

interface CheckpointsOptions {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  /** Between two rounds. Default 1 s. */
  readonly everyMs?: number;
  /** Where its rounds are counted; absent: nowhere. */
  readonly registry?: LoopOptions["registry"];
}

const EVERY_MS = 1_000;
/** So many attempts are one statement: what is read and written down of them at a time, 0.1 ms each, does not hold up the event loop. */
const MOST_OF_A_STATEMENT = 25;

/** An attempt whose answer runs. */
interface FollowedAnswer {
  /** What is known of it now. */
  read(): AttemptCheckpoint;
  /** A number that is another one whenever a new checkpoint says something new. */
  progress(): number;
}

interface Followed extends FollowedAnswer {
  /** Its progress when it was last kept. */
  kept: number | undefined;
}

/**
 * Keeps what is known of the answers that run, about once a second, where that has changed. All of them share one connection and one commit for every
 * twenty-five: a thousand streams that nobody reads do not stand before the statements of others in the database's queue, as a
 * thousand statements a second would.
 */
export class Checkpoints implements Stoppable {
  readonly #options: CheckpointsOptions;
  readonly #followed = new Map<string, Followed>();
  readonly #loop: Stoppable;

  constructor(options: CheckpointsOptions) {
    this.#options = options;
    const { everyMs = EVERY_MS, registry, logger } = options;
    this.#loop = startLoop("checkpoints", everyMs, (signal) => this.#keepAll(signal), {
      first: "after a pause",
      onError: (error) => logger.warn({ error: String(error) }, "checkpoint.failed"),
      ...(registry && { registry }),
    });
  }

  /**
   * Keeps the checkpoint of the attempt in each round in which it has progressed, the first after about `everyMs` at most, until the
   * returned function is called.
   */
  follow(attemptId: string, answer: FollowedAnswer): () => void {
    this.#followed.set(attemptId, { read: () => answer.read(), progress: () => answer.progress(), kept: undefined });
    return () => void this.#followed.delete(attemptId);
  }

  /** Ends with the statement that runs. */
  async stop(): Promise<void> {
    await this.#loop.stop();
  }

  async #keepAll(signal: AbortSignal): Promise<void> {
    const attempts = [...this.#followed].filter(([, answer]) => answer.progress() !== answer.kept).map(([attemptId]) => attemptId);
    for (let from = 0; from < attempts.length && !signal.aborted; from += MOST_OF_A_STATEMENT)
      await this.#keep(attempts.slice(from, from + MOST_OF_A_STATEMENT));
  }

  /** A checkpoint that cannot be read or stored costs no other attempt its own: the statement is halved until it stands alone. */
  async #keep(attemptIds: readonly string[]): Promise<void> {
    if (attemptIds.length === 0) return;
    try {
      const checkpoints = attemptIds.flatMap((attemptId) => {
        const answer = this.#followed.get(attemptId);
        return answer ? [{ attemptId, answer, progress: answer.progress(), checkpoint: answer.read() }] : [];
      });
      if (checkpoints.length > 0) await checkpointAttempts(this.#options.db, checkpoints);
      // One that was not stored is read again in the next round.
      for (const { answer, progress } of checkpoints) answer.kept = progress;
    } catch (error) {
      if (attemptIds.length === 1 || isDatabaseUnavailable(error)) {
        const facts = { attempts: attemptIds.length, first: attemptIds[0], error: String(error) };
        return this.#options.logger.warn(facts, "checkpoint.failed");
      }
      const middle = Math.ceil(attemptIds.length / 2);
      await this.#keep(attemptIds.slice(0, middle));
      await this.#keep(attemptIds.slice(middle));
    }
  }
}

import { open, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { type DatabaseClient, isDatabaseUnavailable } from "@proliferate/db";
import { type Logger, type LoopOptions, startLoop, type Stoppable } from "@proliferate/runtime";
import { type AttemptOutcome, settleSpooledAttempt, type SpooledAttempt, withDeadInstance } from "@proliferate/access/requests";
import { type SpoolEntry, entryOf } from "./spool-entry.ts";
import { type Spool, SPOOL_NAME, spoolPath } from "./spool.ts";

interface ReplayOptions {
  readonly db: DatabaseClient;
  readonly spool: Spool;
  readonly folder: string;
  readonly instanceId: number;
  readonly logger: Logger;
  /** While this is true nothing is tried. */
  readonly isStoreAbsent: () => boolean;
  /** Told what the store said. */
  readonly onFailure: (error: unknown) => void;
  /** Told of each request of this process that is on record now. */
  readonly onRecorded: (attempt: SpooledAttempt) => void;
  /** How a request ended whose process died: at its estimate. */
  readonly outcomeOfDead: (attempt: SpooledAttempt) => AttemptOutcome;
  readonly metrics: { spoolReplayed(): void };
  readonly registry?: LoopOptions["registry"];
}

const EVERY_MS = 10_000;
/** Requests of this process that are put on record at once. */
const AT_ONCE = 4;

/**
 * Puts on record what was admitted without the store, exactly once, however often it is repeated: an attempt's id is its identity. This
 * process's own requests as soon as they are over and the store is there; those in the files of dead processes at its start and every 10 s.
 */
export class Replay implements Stoppable {
  readonly #options: ReplayOptions;
  readonly #loop: Stoppable;
  /** Files of dead processes that have our name since we took them, and are not done. */
  readonly #taken = new Set<string>();
  #running: Promise<void> | undefined;
  #isWanted = false;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#loop = startLoop("replay_spool", EVERY_MS, () => this.#look(), {
      first: "after a pause",
      onError: (error) => options.logger.error({ error: String(error) }, "spool.replay_failed"),
      ...(options.registry && { registry: options.registry }),
    });
  }

  /** Something of this process is ready. Never rejects; resolves when nothing is ready any more, or the store does not take it. */
  async own(): Promise<void> {
    this.#isWanted = true;
    this.#running ??= this.#drain().finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** What dead processes left in the folder. Throws when the store or the disk cannot be asked; what is not done stays. */
  async left(): Promise<void> {
    const { folder, instanceId, db, spool } = this.#options;
    for (const path of this.#taken) await this.#replayFile(path);
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const owner = Number(SPOOL_NAME.exec(name)?.[1]);
      if (Number.isNaN(owner) || owner === instanceId || path === spool.path) continue;
      // Named after us it is nobody else's, also if we die; and its writer, should it live, finds out with its next line.
      await withDeadInstance(db, owner, async () => {
        const taken = spoolPath(folder, instanceId);
        await rename(path, taken);
        this.#taken.add(taken);
        await this.#replayFile(taken);
      });
    }
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.own();
  }

  async #look(): Promise<void> {
    await this.own();
    if (!this.#options.isStoreAbsent()) await this.left();
  }

  async #drain(): Promise<void> {
    while (this.#isWanted && !this.#options.isStoreAbsent()) {
      this.#isWanted = false;
      const next = [...this.#options.spool.ended()].values();
      const work = async (): Promise<void> => {
        for (const entry of next) {
          if (this.#options.isStoreAbsent()) return;
          if (!(await this.#record(entry))) continue;
          await this.#options.spool.done(entry.attempt.attempt_id);
          this.#options.onRecorded(entry.attempt);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work)).catch((error: unknown) => this.#options.onFailure(error));
    }
  }

  /** True when it is on record; false, and logged, when this request cannot be. Throws when the store is away: then none can. */
  async #record({ attempt, outcome }: SpoolEntry): Promise<boolean> {
    const { db, logger, metrics } = this.#options;
    try {
      await settleSpooledAttempt(db, attempt, outcome ?? this.#options.outcomeOfDead(attempt));
      metrics.spoolReplayed();
      return true;
    } catch (error) {
      if (isDatabaseUnavailable(error)) throw error;
      logger.error({ attempt: attempt.attempt_id, error: String(error) }, "spool.attempt_failed");
      return false;
    }
  }

  async #replayFile(path: string): Promise<void> {
    const { logger } = this.#options;
    const running = new Map<string, SpoolEntry>();
    let [replayed, failed, damaged, isLastDamaged] = [0, 0, 0, false];
    const record = async (entry: SpoolEntry): Promise<void> => {
      if (await this.#record(entry)) replayed += 1;
      else failed += 1;
    };
    const file = await open(path, "r");
    try {
      for await (const line of file.readLines()) {
        if (line === "") continue;
        if (isLastDamaged) damaged += 1;
        const entry = entryOf(line);
        isLastDamaged = entry === undefined;
        if (entry?.outcome) {
          running.delete(entry.attempt.attempt_id);
          await record(entry);
        } else if (entry) running.set(entry.attempt.attempt_id, entry);
      }
    } finally {
      await file.close();
    }
    for (const entry of running.values()) await record(entry);
    logger[damaged > 0 ? "error" : "warn"]({ file: path, replayed, failed, damaged }, "spool.replayed");
    if (failed > 0) return;
    // The last line of a process that was killed may be half written: nobody was told that it is there.
    if (damaged > 0) await rename(path, `${path}.damaged`);
    else await unlink(path);
    this.#taken.delete(path);
  }
}

import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";

interface ReportRoomOptions {
  /** Of few connections and its own: what reads whole tables here holds up nothing else. */
  readonly db: DatabaseClient;
  /** Reports and exports at once. Default 4. */
  readonly seats?: number;
  /** An export of which its reader takes nothing for so long is ended. Default 30 s. */
  readonly idleMs?: number;
  /** An export that is not read to its end after so long is ended, however steadily it is read: its seat is others', too. Default 30 min. */
  readonly wholeMs?: number;
}

const RETRY_AFTER_SECONDS = 5;

/** Where reports over all organizations are made: so many at once, on connections of their own. */
export class ReportRoom {
  readonly db: DatabaseClient;
  readonly idleMs: number;
  readonly wholeMs: number;
  readonly #seats: number;
  #taken = 0;

  constructor({ db, seats = 4, idleMs = 30_000, wholeMs = 30 * 60_000 }: ReportRoomOptions) {
    this.db = db;
    this.idleMs = idleMs;
    this.wholeMs = wholeMs;
    this.#seats = seats;
  }

  /** Runs the work and gives its seat back when it is over. Rejects with `reports_busy` (429) where no seat is free. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.checkSeat();
    this.#taken += 1;
    try {
      return await work();
    } finally {
      this.#taken -= 1;
    }
  }

  /** Throws `reports_busy` where no seat is free now: before an answer begins that could not say so any more. */
  checkSeat(): void {
    if (this.#taken >= this.#seats)
      throw new AppError("reports_busy", `${this.#taken} exports and reports run on this gateway already.`, {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
  }
}

import type { Listener, Stoppable } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import { HOLD_MS } from "./settle.ts";

/** After answers were told to end, their connections have this long, then they are cut: each end waits for its settlement, and has a second to be read. */
const CUT_MS = HOLD_MS + 1_000;

/**
 * The way out of this process, as those who work see it: first it drains (nothing new comes, what runs goes on), then, at
 * the deadline or when it is hurried, answers that still run are ended by us, each in its caller's dialect.
 */
export class Shutdown {
  readonly #endings = new Set<(reason: AppError) => void>();
  #isDraining = false;
  #reason: AppError | undefined;

  get isDraining(): boolean {
    return this.#isDraining;
  }

  beginDraining(): void {
    this.#isDraining = true;
  }

  /** Idempotent. */
  endAnswers(): void {
    this.#reason ??= new AppError("shutting_down", "The gateway is stopping and had to end this answer.");
    for (const end of this.#endings) end(this.#reason);
  }

  /** Calls `end` when answers must end, at once if they must already; until the returned function is called. */
  onEnd(end: (reason: AppError) => void): () => void {
    this.#endings.add(end);
    if (this.#reason) end(this.#reason);
    return () => void this.#endings.delete(end);
  }
}

/** What stops taking requests, and how long what runs may go on. */
interface DrainOptions {
  readonly shutdown: Shutdown;
  readonly listener: Listener;
  /** Resolves when nothing is being handled. */
  readonly idle: () => Promise<void>;
  readonly drainMs: number;
}

/**
 * The data plane as a part that drains. `stop` closes the listener at once and resolves when the last answer is settled and
 * over: at most `drainMs` later those that still run are told to end, and a little later their connections are cut.
 * `hurry` does that now.
 */
export function drainingPart({ shutdown, listener, idle, drainMs }: DrainOptions): Stoppable {
  let cutting: NodeJS.Timeout | undefined;
  const end = (): void => {
    shutdown.endAnswers();
    cutting ??= setTimeout(() => listener.cut(), CUT_MS);
  };
  return {
    drainMs: drainMs + CUT_MS,
    hurry: end,
    stop: async () => {
      shutdown.beginDraining();
      const ending = setTimeout(end, drainMs);
      await listener.stop();
      await idle();
      clearTimeout(ending);
      clearTimeout(cutting);
    },
  };
}

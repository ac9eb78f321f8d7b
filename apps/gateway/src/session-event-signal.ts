/** Milliseconds between two looks of a reader that nothing woke; each is spread by a quarter. */
interface LookEvery {
  /** While notices are heard: only for what a notice missed. */
  readonly heardMs: number;
  /** While they are not. */
  readonly unheardMs: number;
}

const LOOK_EVERY: LookEvery = { heardMs: 25_000, unheardMs: 2_000 };

/** The channel that the trigger on `session_events` tells; its payload is the session's id. */
export const SESSION_EVENT_CHANNEL = "llm_gateway_session_events";

/** One reader's place. */
export interface EventWatch {
  /** Resolves true when the session may have news since the last call, false after so many milliseconds. */
  wait(mostMs: number): Promise<boolean>;
  /** How long to wait at most before one looks for oneself. */
  lookAfterMs(): number;
  wake(): void;
  close(): void;
}

/**
 * Wakes the readers of sessions' events, of one process, when something tells of them: so an idle reader asks the database for
 * nothing but a look every 25 s. What is told while a reader looks wakes it at its next wait. While nothing can be heard readers look
 * more often by themselves.
 */
export class SessionEventSignal {
  readonly #every: LookEvery;
  readonly #watches = new Map<string, Set<() => void>>();
  #isHearing = false;

  constructor(every: LookEvery = LOOK_EVERY) {
    this.#every = every;
  }

  /** The session may have news. */
  told(sessionId: string): void {
    for (const wake of this.#watches.get(sessionId) ?? []) wake();
  }

  /** Whether what happens from now on is told. Wakes everybody: something may have happened in between, and the next look is due sooner, or later. */
  hears(isHearing: boolean): void {
    this.#isHearing = isHearing;
    for (const wakes of this.#watches.values()) for (const wake of wakes) wake();
  }

  /** Begin before the first look, and close it in any case. */
  watch(sessionId: string): EventWatch {
    let isWoken = false;
    let resolve: ((isWoken: boolean) => void) | undefined;
    const wake = (): void => {
      isWoken = true;
      resolve?.(true);
    };
    const wakes = this.#watches.get(sessionId) ?? new Set();
    this.#watches.set(sessionId, wakes.add(wake));
    return {
      wake,
      lookAfterMs: () => (this.#isHearing ? this.#every.heardMs : this.#every.unheardMs) * (0.75 + Math.random() / 2),
      wait: async (mostMs) => {
        let timer: NodeJS.Timeout | undefined;
        const told = await new Promise<boolean>((done) => {
          if (isWoken) return done(true);
          resolve = done;
          timer = setTimeout(done, mostMs, false);
        });
        clearTimeout(timer);
        resolve = undefined;
        if (told) isWoken = false;
        return told;
      },
      close: () => {
        wakes.delete(wake);
        if (wakes.size === 0 && this.#watches.get(sessionId) === wakes) this.#watches.delete(sessionId);
      },
    };
  }

  /** Sessions that somebody reads. */
  get size(): number {
    return this.#watches.size;
  }
}

/** How much is read on after a caller has left: at once, in bytes and in milliseconds. */
export interface DetachedReadSettings {
  /** How long an answer is read on after its caller left. 0: not at all. */
  readonly ms: number;
  /** How many bytes of it. */
  readonly bytes: number;
  /** How many answers of this process at once. */
  readonly atOnce: number;
}

/** One answer that is read on. */
export interface DetachedRead {
  /** Tells how much came; may stop the reading. */
  count(bytes: number): void;
  /** Idempotent. */
  end(): void;
}

/**
 * Answers whose callers left, and that are read on because the provider tells at their end what they cost. Bounded in time,
 * in size and in number, since a caller that leaves costs nothing to whoever leaves.
 */
export class DetachedReads {
  readonly #settings: DetachedReadSettings;
  #running = 0;

  constructor(settings: DetachedReadSettings) {
    this.#settings = settings;
  }

  /** `stop` is called once when a bound is reached. Undefined when there is no room: then the answer is given up at once. */
  begin(stop: () => void): DetachedRead | undefined {
    const { ms, bytes: mostBytes, atOnce } = this.#settings;
    if (ms === 0 || this.#running >= atOnce) return undefined;
    this.#running += 1;
    const timer = setTimeout(stop, ms);
    let bytes = 0;
    let isOver = false;
    return {
      count: (more) => {
        bytes += more;
        if (bytes > mostBytes) stop();
      },
      end: () => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        this.#running -= 1;
      },
    };
  }
}

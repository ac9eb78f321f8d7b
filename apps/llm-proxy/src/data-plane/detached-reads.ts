/** How much is read on after a caller has left: at once, in bytes and in milliseconds. */
export interface DetachedReadSettings {
  /** How long an answer is read on after its caller left. 0: not at all. */
  readonly ms: number;
  /** How many bytes of it. */
  readonly bytes: number;
  /** How many answers of this process at once. */
  readonly atOnce: number;
}

/** Of all that are read on at once, one key's share: who leaves again and again does not have the others' answers estimated. */
const SHARE_OF_A_KEY = 1 / 4;

/** One answer that is read on. */
export interface DetachedRead {
  /** Tells how much came; may stop the reading. */
  count(bytes: number): void;
  /** Idempotent. */
  end(): void;
}

/**
 * Answers whose callers left, and that are read on because the provider tells at their end what they cost. Bounded in time,
 * in size and in number, of one key's as of all, since a caller that leaves costs nothing to whoever leaves.
 */
export class DetachedReads {
  readonly #settings: DetachedReadSettings;
  #running = 0;
  readonly #runningByKey = new Map<string, number>();

  constructor(settings: DetachedReadSettings) {
    this.#settings = settings;
  }

  /** `stop` is called once when a bound is reached. Undefined when there is no room, in all or for the key: then the answer is given up at once. */
  begin(key: string, stop: () => void): DetachedRead | undefined {
    const { ms, bytes: mostBytes, atOnce } = this.#settings;
    const ofKey = this.#runningByKey.get(key) ?? 0;
    if (ms === 0 || this.#running >= atOnce || ofKey >= Math.ceil(atOnce * SHARE_OF_A_KEY)) return undefined;
    this.#count(key, 1);
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
        this.#count(key, -1);
      },
    };
  }

  #count(key: string, change: 1 | -1): void {
    this.#running += change;
    const ofKey = (this.#runningByKey.get(key) ?? 0) + change;
    if (ofKey === 0) this.#runningByKey.delete(key);
    else this.#runningByKey.set(key, ofKey);
  }
}

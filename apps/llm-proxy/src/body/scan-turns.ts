import type { JsonScanner } from "./json-scanner.ts";

/** A body up to this size is read at once: it takes about a millisecond. */
const AT_ONCE_BYTES = 256 * 1024;
/** How much of a larger one is read before everything else gets its turn; below 10 ms even where every byte is a value. */
const SLICE_BYTES = 128 * 1024;

interface Turn {
  readonly scanner: JsonScanner;
  readonly done: () => void;
  readonly fail: (error: unknown) => void;
}

/**
 * Reads large bodies in slices, of all of them one slice at a time, in turn: however many there are and however large, the
 * process is never kept from its other work for longer than a slice takes, and a body that is hardly large does not wait
 * for the largest to end.
 */
export class ScanTurns {
  readonly #waiting: Turn[] = [];
  #isRunning = false;

  /** Resolves when the scanner has read its body, rejects with what it throws. */
  async run(scanner: JsonScanner): Promise<void> {
    if (scanner.advance(AT_ONCE_BYTES)) return;
    await new Promise<void>((done, fail) => {
      this.#waiting.push({ scanner, done, fail });
      if (this.#isRunning) return;
      this.#isRunning = true;
      setImmediate(this.#next);
    });
  }

  readonly #next = (): void => {
    const turn = this.#waiting.shift();
    if (turn) this.#take(turn);
    this.#isRunning = this.#waiting.length > 0;
    if (this.#isRunning) setImmediate(this.#next);
  };

  #take(turn: Turn): void {
    try {
      if (turn.scanner.advance(SLICE_BYTES)) turn.done();
      else this.#waiting.push(turn);
    } catch (error) {
      turn.fail(error);
    }
  }
}

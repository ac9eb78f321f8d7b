/** Smaller ones are not worth an iteration. */
const KEPT_BYTES = 16 * 1024;

/**
 * What a request sends. It is held until the provider begins to answer, because until then it may have to be sent again, and
 * let go then: an answer may run for minutes, and its request with it would take the memory of the next ones.
 */
export class OutgoingBody {
  readonly length: number;
  readonly #onRelease: () => void;
  #bytes: Buffer | undefined;

  constructor(bytes: Buffer, onRelease: () => void) {
    this.#bytes = bytes;
    this.length = bytes.length;
    this.#onRelease = onRelease;
  }

  /** For undici, which holds on to a buffer until the answer is over. Throws once it was let go. */
  payload(): Buffer | AsyncIterable<Buffer> {
    return this.length <= KEPT_BYTES ? this.#take() : this.#pieces();
  }

  /** Lets it go; nothing can send it any more. Idempotent. */
  release(): void {
    if (this.#bytes === undefined) return;
    this.#bytes = undefined;
    this.#onRelease();
  }

  async *#pieces(): AsyncGenerator<Buffer> {
    yield this.#take();
  }

  #take(): Buffer {
    if (this.#bytes === undefined) throw new Error("The body was let go.");
    return this.#bytes;
  }
}

import { FrameRelay, type FrameVerdict } from "./frame-relay.ts";
import type { ProviderStreamError, StreamUsageReader, UsageReading } from "./usage-reader.ts";

/** What every reader of a stream does with its frames; a dialect says what each frame means (`inspect`) and what is known so far (`reading`). */
export abstract class FrameUsageReader implements StreamUsageReader {
  readonly #relay = new FrameRelay((frame) => this.inspect(frame));
  #terminal: "end" | "error" | undefined;
  #error: ProviderStreamError | undefined;

  get terminal(): "end" | "error" | undefined {
    return this.#terminal;
  }

  get error(): ProviderStreamError | undefined {
    return this.#error;
  }

  get heldBytes(): number {
    return this.#relay.heldBytes;
  }

  get isBetweenFrames(): boolean {
    return this.#relay.isBetweenFrames;
  }

  push(chunk: Uint8Array): readonly Uint8Array[] {
    return this.#relay.push(chunk);
  }

  takeRest(): Uint8Array {
    return this.#relay.takeRest();
  }

  abstract reading(): UsageReading;

  protected abstract inspect(frame: Buffer): FrameVerdict;

  /** The event that ends the answer has come: it waits until the answer is on record. */
  protected end(): FrameVerdict {
    this.#terminal = "end";
    return "hold";
  }

  /** The provider's error event has come: it waits as well. */
  protected fail(error: ProviderStreamError): FrameVerdict {
    this.#terminal = "error";
    this.#error = error;
    return "hold";
  }
}

import type { ServerResponse } from "node:http";

/**
 * The memory that answers take now: what their readers hold back, and what callers have not taken yet. Nothing is counted while
 * answers pass; it is added up when somebody looks. One a process.
 */
export class HeldAnswers {
  readonly #readers = new Set<() => number>();
  readonly #responses = new Set<ServerResponse>();

  /** Counts what a reader says, in bytes, until the returned function is called. */
  read(heldBytes: () => number): () => void {
    this.#readers.add(heldBytes);
    return () => void this.#readers.delete(heldBytes);
  }

  /** Counts what was written and not sent, until the response is closed. */
  send(response: ServerResponse): void {
    if (response.closed || response.destroyed) return;
    this.#responses.add(response);
    response.once("close", () => this.#responses.delete(response));
  }

  get bytes(): number {
    let bytes = 0;
    for (const heldBytes of this.#readers) bytes += heldBytes();
    for (const response of this.#responses) bytes += response.writableLength;
    return bytes;
  }
}

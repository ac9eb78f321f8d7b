import type { ServerResponse } from "node:http";
import type { Flow } from "../http/fair-reads.ts";

/**
 * The caller's side of one answer. Nothing here throws or rejects because of the caller: what is written to one that has
 * gone is dropped.
 */
export class CallerAnswer {
  readonly #response: ServerResponse;
  /** What is stopped until the caller has taken what was sent. */
  #stopped: Flow | undefined;
  #sends = 0;

  constructor(response: ServerResponse) {
    this.#response = response;
    // One for all times: a listener for each is work for every piece of an answer.
    response.on("drain", () => {
      const flow = this.#stopped;
      this.#stopped = undefined;
      flow?.resume();
    });
  }

  /** How many times something was sent. */
  get sends(): number {
    return this.#sends;
  }

  /** The connection is gone, and with it what was not sent yet. */
  get isGone(): boolean {
    return this.#response.destroyed && !this.#response.writableFinished;
  }

  get hasBegun(): boolean {
    return this.#response.headersSent;
  }

  /** Calls the listener when the caller leaves before its answer is over, at once if it has; until the returned function is called. */
  onGone(listener: () => void): () => void {
    const onClose = (): void => {
      if (this.isGone) listener();
    };
    this.#response.once("close", onClose);
    onClose();
    return () => void this.#response.off("close", onClose);
  }

  /** What is sent next goes along with the head, in one packet. */
  begin(status: number, headers: Readonly<Record<string, string | string[] | number>>): void {
    if (!this.#response.destroyed) this.#response.writeHead(status, headers);
  }

  /** As {@link begin}, for an answer whose first piece may be long in coming: the head is sent at once. */
  beginStream(status: number, headers: Readonly<Record<string, string | string[] | number>>): void {
    this.begin(status, headers);
    if (!this.#response.destroyed) this.#response.flushHeaders();
  }

  /** Sends pieces, and stops the flow that they come from until the caller has taken them. */
  send(pieces: readonly Uint8Array[], flow: Flow): void {
    if (this.#response.destroyed || pieces.length === 0) return;
    this.#sends += 1;
    let isFull = false;
    for (const piece of pieces) isFull = !this.#response.write(piece);
    if (!isFull || this.#stopped) return;
    this.#stopped = flow;
    flow.pause();
  }

  /** Sends a frame that nobody asked for, unless the caller has not yet taken what was sent before: it is piled up for nobody. */
  sendPing(frame: string): void {
    const { destroyed, writableEnded, writableLength } = this.#response;
    if (destroyed || writableEnded || writableLength > 0) return;
    this.#sends += 1;
    this.#response.write(frame);
  }

  /** Sends what is left without waiting: its size is bounded by whoever held it back. */
  sendRest(rest: Uint8Array | string): void {
    if (!this.#response.destroyed && rest.length > 0) this.#response.write(rest);
  }

  /** A clean end. A caller that does not read it is cut by the server's own time-out. */
  end(): void {
    if (!this.#response.destroyed) this.#response.end();
  }

  /** For an answer that has no form in which to say that it is not whole. */
  cut(): void {
    this.#response.destroy();
  }
}

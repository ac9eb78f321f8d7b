import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A provider that holds each of its answers until it is told, so that a test knows how many requests are under way at once. */
export class HeldProvider {
  readonly #server: Server;
  #held: ServerResponse[] = [];
  #url = "";
  /** What it answers every request with, as JSON, from now on. */
  answer: unknown;

  constructor() {
    this.#server = createServer((request, response) => {
      request.resume();
      request.on("end", () => this.#held.push(response));
    });
  }

  /** Listens on any free port of this machine. */
  async start(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.#url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Without a trailing slash; after `start`. */
  get url(): string {
    return this.#url;
  }

  /** How many requests have come whole and wait for their answer. */
  get held(): number {
    return this.#held.length;
  }

  /** Answers all that it holds. */
  letGo(): void {
    for (const response of this.#held.splice(0))
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(this.answer));
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

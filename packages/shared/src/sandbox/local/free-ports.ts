import { once } from "node:events";
import { createServer } from "node:net";
import { AppError } from "../../errors/index.ts";

// Below the range that Linux and macOS hand out by themselves, so that no outgoing connection takes one in between.
const firstPort = 20_000;
const portCount = 10_000;

/** Hands out loopback ports that nothing listens on, each to one holder in this process until it is given back. */
export class FreePorts {
  readonly #taken = new Set<number>();
  #next = Math.floor(Math.random() * portCount);

  /** Throws `sandbox_provider_unavailable` when every port of 20000 to 29999 is taken. */
  async take(): Promise<number> {
    for (let attempt = 0; attempt < portCount; attempt += 1) {
      const port = firstPort + (this.#next++ % portCount);
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      if (await isFree(port)) return port;
      this.#taken.delete(port);
    }
    throw new AppError("sandbox_provider_unavailable", `Every port from ${firstPort} to ${firstPort + portCount - 1} is taken.`);
  }

  giveBack(ports: Iterable<number>): void {
    for (const port of ports) this.#taken.delete(port);
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return true;
  } catch {
    return false;
  }
}

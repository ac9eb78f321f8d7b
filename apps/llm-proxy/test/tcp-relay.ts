import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** A stretch of network that can break: connections are passed on until it is cut, refused then, and passed on again after it is mended. */
export interface TcpRelay {
  /** The URL with this relay as its host and port. */
  through(url: string): string;
  cut(): Promise<void>;
  mend(): Promise<void>;
  stop(): Promise<void>;
}

export async function startTcpRelay(target: string): Promise<TcpRelay> {
  const { hostname, port: targetPort } = new URL(target);
  const sockets = new Set<Socket>();
  const join = (near: Socket): void => {
    const far = connect(Number(targetPort), hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  };
  let server: Server | undefined;
  const listen = async (port: number): Promise<number> => {
    const opened = createServer(join);
    server = opened;
    await new Promise<void>((done) => opened.listen(port, "127.0.0.1", done));
    return (opened.address() as AddressInfo).port;
  };
  const cut = async (): Promise<void> => {
    const closed = new Promise((done) => server?.close(done) ?? done(undefined));
    for (const socket of sockets) socket.destroy();
    await closed;
    server = undefined;
  };
  const port = await listen(0);
  return {
    through: (url) => {
      const changed = new URL(url);
      changed.hostname = "127.0.0.1";
      changed.port = String(port);
      return changed.toString();
    },
    cut,
    mend: async () => void (await listen(port)),
    stop: cut,
  };
}

import type { Server, ServerResponse } from "node:http";
import { type AddressInfo, Server as NetServer, type Socket } from "node:net";
import { AppError } from "@proliferate/shared/errors";
import type { Stoppable } from "./lifecycle.ts";

/** Where a server listens, and how it stops. */
interface ListenOptions {
  readonly port: number;
  /** The address to listen on. Default: reached from this machine only. */
  readonly host?: string;
  /** The variable that sets the port; named when the port is taken. */
  readonly portVariable: string;
  /** How long requests in flight may go on after `stop`. Default 5 s. */
  readonly drainTimeoutMs?: number;
  /**
   * How long connections on which nothing runs stay open after `stop`: a request that is on its way on one is answered then,
   * and told that it is the last, instead of being lost. Default 0.
   */
  readonly idleGraceMs?: number;
}

/** A server that listens. `stop` is idempotent. */
export interface Listener extends Stoppable {
  readonly port: number;
  /** Cuts every connection, whatever runs on it. */
  cut(): void;
}

/**
 * Connections that may wait to be accepted: what Linux allows (`net.core.somaxconn`). With Node's 511 a storm of new connections fills the
 * queue, and whoever connects then is silently dropped and tries again after a second.
 */
const BACKLOG = 4_096;

/**
 * Listens, or throws `port_in_use` naming port and variable. `stop` refuses new connections at once, closes those on which
 * nothing runs, tells the others with their answer (`connection: close`) that it is the last, lets them end, then cuts them.
 */
export async function listen(server: Server, options: ListenOptions): Promise<Listener> {
  const host = options.host ?? "127.0.0.1";
  await new Promise<void>((done, fail) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EADDRINUSE" && error.code !== "EACCES") return fail(error);
      const what = error.code === "EACCES" ? "may not be used by this user" : "is taken by another program";
      fail(new AppError("port_in_use", `Port ${options.port} ${what}; set ${options.portVariable} to another one.`, { cause: error }));
    });
    server.listen({ port: options.port, host, backlog: BACKLOG }, done);
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const answers = new Set<ServerResponse>();
  let stopping: Promise<void> | undefined;
  let closesIdle = false;
  const closeIdle = (): void => {
    closesIdle = true;
    server.closeIdleConnections();
  };
  server.prependListener("request", (_, response) => {
    if (stopping) response.shouldKeepAlive = false;
    answers.add(response);
    response.once("close", () => {
      answers.delete(response);
      // A connection whose answer had begun before we stopped turns idle with its end; nothing else would close it.
      if (closesIdle) setImmediate(() => server.closeIdleConnections());
    });
  });
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  const stop = (): Promise<void> => {
    stopping ??= new Promise<void>((done) => {
      const timer = setTimeout(cut, options.drainTimeoutMs ?? 5_000);
      const grace = setTimeout(closeIdle, options.idleGraceMs ?? 0);
      for (const response of answers) response.shouldKeepAlive = false;
      // That of `http` would close idle connections at once.
      NetServer.prototype.close.call(server, () => {
        clearTimeout(timer);
        clearTimeout(grace);
        done();
      });
    });
    return stopping;
  };
  return { port: (server.address() as AddressInfo).port, stop, cut };
}

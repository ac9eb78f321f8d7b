import type { Server } from "node:http";
import type { Socket } from "node:net";

/**
 * Keeps at most so many connections that do nothing: those that never sent a whole head, and those between two requests. The
 * one that is idle for longest is closed for the next. A connection with a request on it is never touched, however many there are.
 */
export function boundIdleConnections(server: Server, most: number): void {
  /** In the order in which they became idle. */
  const idle = new Set<Socket>();
  const running = new WeakMap<Socket, number>();
  const rest = (socket: Socket): void => {
    idle.add(socket);
    if (idle.size <= most) return;
    const [longest] = idle;
    if (!longest) return;
    idle.delete(longest);
    longest.destroy();
  };
  server.on("connection", (socket: Socket) => {
    socket.once("close", () => idle.delete(socket));
    rest(socket);
  });
  server.on("request", ({ socket }, response) => {
    idle.delete(socket);
    running.set(socket, (running.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const left = (running.get(socket) ?? 1) - 1;
      running.set(socket, left);
      if (left === 0 && !socket.destroyed) rest(socket);
    });
  });
}

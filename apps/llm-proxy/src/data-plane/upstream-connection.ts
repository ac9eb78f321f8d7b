import type { Socket } from "node:net";

/**
 * How much is read of a provider's connection at a time, and how much of it is read ahead while the caller does not read. Node would
 * take 64 KB for each read, and undici reads 64 KB ahead: a caller that does not read would hold four times as much of both.
 */
const READ_BYTES = 16 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;

/** All connections are read into this one, one after the other; what came is copied out at its own size before the next is read. */
const readInto = Buffer.allocUnsafeSlow(READ_BYTES);

/**
 * Options of undici for connections to providers, plain and encrypted. `highWaterMark` and `onread` go on to Node's sockets, which
 * undici's types leave out.
 */
export const UPSTREAM_CONNECTION = {
  timeout: CONNECT_TIMEOUT_MS,
  highWaterMark: READ_BYTES,
  onread: {
    buffer: readInto,
    /** False stops the reading, until the stream asks for more. */
    callback(this: Socket, length: number, buffer: Uint8Array): boolean {
      return this.push(Buffer.from(buffer.subarray(0, length)));
    },
  },
};

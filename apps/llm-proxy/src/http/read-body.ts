import type { IncomingMessage } from "node:http";
import { AppError } from "@proliferate/shared/errors";

/** How long a body that is refused may go on arriving; then its connection is cut. */
const DISCARD_TIMEOUT_MS = 10_000;

/**
 * Reads a whole body. Throws `request_too_large` as soon as that is known, from the announced length before anything
 * was read; the rest is then discarded while the answer goes out, because a client that is cut while it sends does not
 * read why. Throws `invalid_request` when the client stops before the end.
 */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const announced = Number(request.headers["content-length"] ?? 0);
  if (announced > limitBytes) throw tooLarge(request, limitBytes);
  return new Promise<Buffer>((done, fail) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      if (length <= limitBytes) return void chunks.push(chunk);
      request.off("data", onData);
      fail(tooLarge(request, limitBytes));
    };
    request.on("data", onData);
    request.once("end", () => done(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, length)));
    request.once("close", () => fail(new AppError("invalid_request", "The connection closed before the end of the body.")));
    request.once("error", (error) => fail(new AppError("invalid_request", "The body could not be read.", { cause: error })));
  });
}

function tooLarge(request: IncomingMessage, limitBytes: number): AppError {
  const timer = setTimeout(() => request.socket.destroy(), DISCARD_TIMEOUT_MS).unref();
  request.once("close", () => clearTimeout(timer));
  request.resume();
  return new AppError("request_too_large", `The body is larger than ${limitBytes / 1024 / 1024} MB.`);
}

import type { IncomingMessage } from "node:http";
import { AppError } from "@proliferate/shared/errors";
import type { FairReads } from "./fair-reads.ts";
import type { HeldMemory } from "./upload-memory.ts";

/** How fast a body has to arrive. */
export interface UploadPace {
  /** Nothing for so long, and it is given up. */
  readonly idleMs: number;
  /** After so long, what has come must be at least {@link leastBytesPerSecond} since. */
  readonly graceMs: number;
  readonly leastBytesPerSecond: number;
}

export const UPLOAD_PACE: UploadPace = { idleMs: 15_000, graceMs: 30_000, leastBytesPerSecond: 32 * 1024 };

interface ReadBodyOptions {
  readonly limitBytes: number;
  readonly pace?: UploadPace;
  /** Takes the memory of the body before anything of it is read. Whoever gives it releases it; also when reading fails. */
  readonly hold?: (bytes: number) => HeldMemory;
  /** Whose turn it is; default: everybody's, always. */
  readonly reads?: FairReads | undefined;
}

/** A body that came whole. */
export interface ReadBody {
  readonly bytes: Buffer;
  /** How many bytes behind `bytes`, in the same memory, belong to it and are free. */
  readonly room: number;
}

/** How long a body that is refused may go on arriving; then its connection is cut. */
const DISCARD_TIMEOUT_MS = 10_000;
/** Of one body, at most: 1 MB a second. */
const DISCARD_BYTES_PER_MS = 1_024;
/** Of all bodies together: what is dropped is work, and memory until the next collection, and many may be refused at a time. */
const ALL_DISCARDS_BYTES_PER_MS = 16 * 1_024;
/** Enough for another model's name and the wish for usage. */
const ROOM_BYTES = 1_024;
/** How a body without an announced length takes memory. */
const STEP_BYTES = 64 * 1024;

/**
 * Reads a whole body. Throws `request_too_large` as soon as that is known, from the announced length before anything was
 * read; what `hold` throws; `upload_timeout` when it does not come fast enough; `invalid_request` when the client stops
 * before the end. What is left of a body that is refused is {@link discardRest}'s.
 */
export async function readBody(
  request: IncomingMessage,
  { limitBytes, pace = UPLOAD_PACE, hold, reads }: ReadBodyOptions,
): Promise<ReadBody> {
  const announced = Number(request.headers["content-length"] ?? 0);
  if (announced > limitBytes) throw tooLarge(limitBytes);
  const memory = hold?.(announced > 0 ? announced : STEP_BYTES);
  const sink = announced > 0 ? new AnnouncedBody(announced) : new GrowingBody(memory);
  await collect(request, { limitBytes, pace, reads }, (chunk) => sink.push(chunk));
  return sink.body();
}

/** Bodies of this process that are dropped now. */
let discards = 0;

/**
 * Reads on and drops what comes, so that a client that sends first and reads then can read why it was refused. Slowly, the more so the
 * more bodies are dropped, because what is dropped is work as well, and not for long: then the connection is cut.
 */
export function discardRest(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  discards += 1;
  const timers = [setTimeout(() => request.socket.destroy(), DISCARD_TIMEOUT_MS).unref()];
  const drop = (chunk: Buffer): void => {
    request.pause();
    const bytesPerMs = Math.min(DISCARD_BYTES_PER_MS, ALL_DISCARDS_BYTES_PER_MS / discards);
    timers[1] = setTimeout(() => request.resume(), chunk.length / bytesPerMs).unref();
  };
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    discards -= 1;
    timers.forEach((timer) => clearTimeout(timer));
  };
  request.on("data", drop).once("close", end).once("end", end);
  request.resume();
}

/** Resolves when the body is over; every listener and timer of ours is gone then, however it ends. */
async function collect(
  request: IncomingMessage,
  { limitBytes, pace, reads }: { readonly limitBytes: number; readonly pace: UploadPace; readonly reads: FairReads | undefined },
  push: (chunk: Buffer) => void,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const startedAt = performance.now();
  let length = 0;
  const idle = setTimeout(() => reject(tooSlow()), pace.idleMs);
  const take = (chunk: Buffer): void => {
    length += chunk.length;
    idle.refresh();
    const seconds = (performance.now() - startedAt - pace.graceMs) / 1_000;
    try {
      if (length > limitBytes) throw tooLarge(limitBytes);
      if (seconds > 0 && length < seconds * pace.leastBytesPerSecond) throw tooSlow();
      push(chunk);
    } catch (error) {
      reject(error as Error);
    }
  };
  const read = reads?.join(request, take, reject);
  const onData = (chunk: Buffer): void => (read ? read.take(chunk) : take(chunk));
  // Every connection closes some day; it is an error only before the end.
  const onEnd = (): void => {
    read?.flush();
    request.off("close", onClose);
    resolve();
  };
  const onClose = (): void => reject(new AppError("invalid_request", "The connection closed before the end of the body."));
  const onError = (error: Error): void => reject(new AppError("invalid_request", "The body could not be read.", { cause: error }));
  request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onError);
  if (request.destroyed) onClose();
  try {
    await promise;
  } finally {
    clearTimeout(idle);
    read?.close();
    request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onError);
  }
}

/** One piece of memory of the announced length: pages that were not sent are not taken. */
class AnnouncedBody {
  readonly #memory: Buffer;
  readonly #announced: number;
  #length = 0;

  constructor(announced: number) {
    this.#announced = announced;
    this.#memory = Buffer.allocUnsafeSlow(announced + ROOM_BYTES);
  }

  push(chunk: Buffer): void {
    // Node keeps to the announced length; this only makes sure of it.
    this.#length += chunk.copy(this.#memory, this.#length, 0, this.#announced - this.#length);
  }

  body(): ReadBody {
    return { bytes: this.#memory.subarray(0, this.#length), room: this.#memory.length - this.#length };
  }
}

/** A body whose length nobody knows: its memory is taken as it comes, in steps that double. */
class GrowingBody {
  readonly #memory: HeldMemory | undefined;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #taken = STEP_BYTES;

  constructor(memory: HeldMemory | undefined) {
    this.#memory = memory;
  }

  push(chunk: Buffer): void {
    this.#length += chunk.length;
    while (this.#taken < this.#length) this.#taken *= 2;
    this.#memory?.grow(this.#taken);
    this.#chunks.push(chunk);
  }

  body(): ReadBody {
    const bytes = Buffer.allocUnsafeSlow(this.#length + ROOM_BYTES);
    let position = 0;
    for (const chunk of this.#chunks) position += chunk.copy(bytes, position);
    return { bytes: bytes.subarray(0, this.#length), room: ROOM_BYTES };
  }
}

function tooLarge(limitBytes: number): AppError {
  return new AppError("request_too_large", `The body is larger than ${limitBytes / 1024 / 1024} MB.`);
}

function tooSlow(): AppError {
  return new AppError("upload_timeout", "The body did not come in time.");
}

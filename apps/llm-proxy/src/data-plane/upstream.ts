import type { IncomingHttpHeaders } from "node:http";
import type { Transform } from "node:stream";
import { constants, createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import type { Stoppable } from "@proliferate/runtime";
import { type Dispatcher, Pool } from "undici";
import { type FairRead, FairReads, type Flow } from "../http/fair-reads.ts";
import type { OutgoingBody } from "./outgoing-body.ts";
import { UPSTREAM_CONNECTION } from "./upstream-connection.ts";

/** One request to a provider. */
export interface UpstreamRequest {
  readonly origin: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: OutgoingBody;
}

/** The head of an answer; its flow stops and restarts with back-pressure, decompression included. */
export interface UpstreamHead extends Flow {
  readonly status: number;
  /** Without a content encoding that was decoded: what is read is what came, decompressed. */
  readonly headers: IncomingHttpHeaders;
}

/** Whoever asked. */
export interface UpstreamListener {
  /** A connection was made and the request is written to it: from now on the provider may do the work. */
  onSent?(): void;
  /** Called with the head of the answer; returns what takes the bytes of its body, in turn with other answers. */
  onHead(head: UpstreamHead): (chunk: Buffer) => void;
}

interface UpstreamOptions {
  /** For the head of an answer, and between two pieces of its body. */
  readonly timeoutMs: number;
  /** Connections to one provider at most; more requests wait, and are told nothing. Default 8,192: half of what callers may open. */
  readonly maxConnections?: number;
  /** Whose turn it is; default: ones of their own. */
  readonly reads?: FairReads;
}

/** undici's view of one request. It may wait for a connection first: then an abort ends it without waiting along. */
class UpstreamCall implements Dispatcher.DispatchHandler {
  readonly ended: Promise<void>;
  readonly #listener: UpstreamListener;
  readonly #reads: FairReads;
  readonly #signal: AbortSignal;
  readonly #end: PromiseWithResolvers<void>;
  #controller: Dispatcher.DispatchController | undefined;
  #read: FairRead | undefined;
  #decoder: Transform | undefined;
  /** Of the announced length, what has not come yet; unknown where none was announced. */
  #leftBytes: number | undefined;

  constructor(listener: UpstreamListener, reads: FairReads, signal: AbortSignal) {
    this.#listener = listener;
    this.#reads = reads;
    this.#signal = signal;
    this.#end = Promise.withResolvers<void>();
    this.ended = this.#end.promise;
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal.aborted) return this.#onAbort();
    this.#listener.onSent?.();
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // 1xx come before the answer.
    if (status < 200) return;
    // They are views of the first piece that was read, and would keep all of it until the answer is over.
    controller.rawHeaders = null;
    this.#leftBytes = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
    const decoder = decoderOf(headers);
    this.#decoder = decoder;
    if (!decoder) {
      const flow = { pause: () => controller.pause(), resume: () => controller.resume() };
      this.#read = this.#begin(controller, flow, { status, headers });
      return;
    }
    const { "content-encoding": _encoding, ...decodedHeaders } = headers;
    // A paused decoder fills up, and then stops the wire: a little that expands to much is held as little.
    const flow = { pause: () => void decoder.pause(), resume: () => void decoder.resume() };
    const read = this.#begin(controller, flow, { status, headers: decodedHeaders });
    this.#read = read;
    decoder.on("data", (chunk: Buffer) => read.take(chunk)).once("end", () => this.#succeed());
    decoder.on("drain", () => controller.resume());
    decoder.once("error", (error) => {
      controller.abort(error);
      this.#fail(error);
    });
  }

  /** The listener has a flow of its own to stop, before it says what takes the bytes. */
  #begin(controller: Dispatcher.DispatchController, flow: Flow, head: Pick<UpstreamHead, "status" | "headers">): FairRead {
    let consume: ((chunk: Buffer) => void) | undefined;
    const fail = (error: Error): void => {
      controller.abort(error);
      this.#fail(error);
    };
    const read = this.#reads.join(flow, (chunk) => consume?.(chunk), fail);
    consume = this.#listener.onHead({ ...head, pause: () => read.pause(), resume: () => read.resume() });
    return read;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#leftBytes !== undefined) this.#leftBytes -= chunk.length;
    if (!this.#decoder) this.#read?.take(chunk);
    else if (!this.#decoder.write(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    if (this.#decoder) this.#decoder.end();
    else this.#succeed();
  }

  /** A provider may close when it has said all; where the answer is stopped at its last piece, undici takes that for a failure. */
  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#leftBytes === 0 && !this.#signal.aborted) this.onResponseEnd();
    else this.#fail(error);
  }

  readonly #onAbort = (): void => {
    const reason = this.#signal.reason as Error;
    this.#controller?.abort(reason);
    this.#fail(reason);
  };

  #succeed(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#read?.flush();
    this.#end.resolve();
  }

  /** What came before a failure of the provider's side was made, too: it is read. */
  #fail(error: Error): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    if (!this.#signal.aborted) this.#read?.flush();
    this.#read?.close();
    this.#end.reject(error);
    this.#decoder?.destroy();
  }
}

/** Connections to the providers, one pool for each origin. */
export class Upstreams implements Stoppable {
  readonly #pools = new Map<string, Pool>();
  readonly #options: UpstreamOptions;
  readonly #reads: FairReads;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#reads = options.reads ?? new FairReads();
  }

  /**
   * Sends a request. Resolves when the whole answer came; rejects when no connection was made, on a time-out, when the
   * connection broke, and with the signal's reason when it aborts, which cuts the connection at once. Never retries; whether
   * the request may have reached the provider is what `onSent` says, not the error: the same codes come from both.
   */
  call(request: UpstreamRequest, listener: UpstreamListener, signal: AbortSignal): Promise<void> {
    const call = new UpstreamCall(listener, this.#reads, signal);
    const { origin, path, body } = request;
    const headers = { ...request.headers, "content-length": String(body.length) };
    // undici takes what can be iterated, too; its types do not say so.
    const payload = body.payload() as Buffer;
    this.#poolOf(origin).dispatch({ method: "POST", path, headers, body: payload }, call);
    return call.ended;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  #poolOf(origin: string): Pool {
    const known = this.#pools.get(origin);
    if (known) return known;
    const { timeoutMs, maxConnections = 8_192 } = this.#options;
    const pool = new Pool(origin, {
      connections: maxConnections,
      pipelining: 1,
      allowH2: false,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: UPSTREAM_CONNECTION,
    });
    this.#pools.set(origin, pool);
    return pool;
  }
}

/** We ask for identity; a provider that compresses all the same would hide what its answer cost. */
function decoderOf(headers: IncomingHttpHeaders): Transform | undefined {
  switch (
    String(headers["content-encoding"] ?? "")
      .trim()
      .toLowerCase()
  ) {
    case "gzip":
      return createGunzip({ flush: constants.Z_SYNC_FLUSH });
    case "br":
      return createBrotliDecompress({ flush: constants.BROTLI_OPERATION_FLUSH });
    case "deflate":
      return createInflate({ flush: constants.Z_SYNC_FLUSH });
    default:
      return undefined;
  }
}

export function isUpstreamTimeout(error: unknown): boolean {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT";
}

import type { IncomingHttpHeaders } from "node:http";
import type { Transform } from "node:stream";
import { constants, createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import type { Stoppable } from "@proliferate/runtime";
import { type Dispatcher, Pool } from "undici";

/** One request to a provider. */
export interface UpstreamRequest {
  readonly origin: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

export interface UpstreamHead {
  readonly status: number;
  /** Without a content encoding: what is read is what came, decompressed. */
  readonly headers: IncomingHttpHeaders;
  /** Back-pressure: stops and restarts the flow of the body. */
  pause(): void;
  resume(): void;
}

/** Called with the head of the answer; returns what takes the bytes of its body. */
export type AcceptAnswer = (head: UpstreamHead) => (chunk: Buffer) => void;

export interface UpstreamOptions {
  /** For the head of an answer, and between two pieces of its body. */
  readonly timeoutMs: number;
  /** Connections to one provider at most. Default 512. */
  readonly maxConnections?: number;
}

const CONNECT_TIMEOUT_MS = 10_000;

/** undici's view of one request. It may wait for a connection first: then an abort ends it without waiting along. */
class UpstreamCall implements Dispatcher.DispatchHandler {
  readonly ended: Promise<void>;
  readonly #accept: AcceptAnswer;
  readonly #signal: AbortSignal;
  readonly #end: PromiseWithResolvers<void>;
  #controller: Dispatcher.DispatchController | undefined;
  #consume: ((chunk: Buffer) => void) | undefined;
  #decoder: Transform | undefined;

  constructor(accept: AcceptAnswer, signal: AbortSignal) {
    this.#accept = accept;
    this.#signal = signal;
    this.#end = Promise.withResolvers<void>();
    this.ended = this.#end.promise;
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal.aborted) this.#onAbort();
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // 1xx come before the answer.
    if (status < 200) return;
    this.#decoder = decoderOf(headers);
    const { "content-encoding": _encoding, ...decodedHeaders } = headers;
    const head = { status, headers: this.#decoder ? decodedHeaders : headers, pause: () => controller.pause(), resume: () => controller.resume() };
    const consume = this.#accept(head);
    this.#consume = consume;
    this.#decoder?.on("data", consume).once("end", () => this.#end.resolve());
    this.#decoder?.once("error", (error) => {
      controller.abort(error);
      this.#end.reject(error);
    });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#decoder) this.#decoder.write(chunk);
    else this.#consume?.(chunk);
  }

  onResponseEnd(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    if (this.#decoder) this.#decoder.end();
    else this.#end.resolve();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#end.reject(error);
  }

  readonly #onAbort = (): void => {
    const reason = this.#signal.reason as Error;
    this.#controller?.abort(reason);
    this.#end.reject(reason);
  };
}

/** Connections to the providers, one pool for each origin. */
export class Upstreams implements Stoppable {
  readonly #pools = new Map<string, Pool>();
  readonly #options: UpstreamOptions;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /**
   * Sends a request. Resolves when the whole answer came; rejects when no connection was made, on a time-out, when the
   * connection broke, and with the signal's reason when it aborts, which cuts the connection at once. Never retries.
   */
  call(request: UpstreamRequest, accept: AcceptAnswer, signal: AbortSignal): Promise<void> {
    const call = new UpstreamCall(accept, signal);
    const { origin, path, headers, body } = request;
    this.#poolOf(origin).dispatch({ method: "POST", path, headers, body }, call);
    return call.ended;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  #poolOf(origin: string): Pool {
    const known = this.#pools.get(origin);
    if (known) return known;
    const { timeoutMs, maxConnections = 512 } = this.#options;
    const pool = new Pool(origin, {
      connections: maxConnections,
      pipelining: 1,
      allowH2: false,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: { timeout: CONNECT_TIMEOUT_MS },
    });
    this.#pools.set(origin, pool);
    return pool;
  }
}

/** We ask for identity; a provider that compresses all the same would hide what its answer cost. */
function decoderOf(headers: IncomingHttpHeaders): Transform | undefined {
  switch (String(headers["content-encoding"] ?? "").trim().toLowerCase()) {
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

const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "UND_ERR_CONNECT_TIMEOUT"]);

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "";
}

/** True when not a byte of the request can have reached the provider: only then is it safe to send it again. */
export function wasNeverConnected(error: unknown): boolean {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(wasNeverConnected);
  return NOT_CONNECTED.has(codeOf(error));
}

export function isUpstreamTimeout(error: unknown): boolean {
  return codeOf(error) === "UND_ERR_HEADERS_TIMEOUT" || codeOf(error) === "UND_ERR_BODY_TIMEOUT";
}

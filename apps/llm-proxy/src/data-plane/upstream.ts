import type { IncomingHttpHeaders } from "node:http";
import type { Stoppable } from "@proliferate/runtime";
import { Pool } from "undici";

/** One request to a provider. */
export interface UpstreamRequest {
  readonly origin: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

export interface UpstreamHead {
  readonly status: number;
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
    return new Promise((done, fail) => {
      let consume: (chunk: Buffer) => void = () => undefined;
      let stopListening: () => void = () => undefined;
      this.#poolOf(request.origin).dispatch(
        { method: "POST", path: request.path, headers: request.headers, body: request.body },
        {
          onRequestStart: (controller) => {
            const abort = (): void => controller.abort(signal.reason as Error);
            if (signal.aborted) return abort();
            signal.addEventListener("abort", abort, { once: true });
            stopListening = () => signal.removeEventListener("abort", abort);
          },
          onResponseStart: (controller, status, headers) => {
            // 1xx come before the answer.
            if (status < 200) return;
            consume = accept({ status, headers, pause: () => controller.pause(), resume: () => controller.resume() });
          },
          onResponseData: (_controller, chunk) => consume(chunk),
          onResponseEnd: () => {
            stopListening();
            done();
          },
          onResponseError: (_controller, error) => {
            stopListening();
            fail(error);
          },
        },
      );
    });
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

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";

/** A handler of requests that may throw and may reject. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/**
 * The listener of every HTTP server of ours. Whatever `handle` throws or rejects with, the process lives on: the failure is
 * given to `onFailure`, and the caller gets a plain 500, or a cut connection where an answer had begun. A broken connection
 * is no failure. `onFailure` itself may not throw; what it throws is dropped.
 */
export function safeListener(handle: RequestHandler, onFailure: (error: unknown, request: IncomingMessage) => void): RequestListener {
  return (request, response) => {
    request.on("error", ignore);
    response.on("error", ignore);
    // Inside the promise, so that a handler that throws at once and one that rejects later are the same.
    new Promise<void>((done) => done(handle(request, response)))
      .catch((error: unknown) => {
        fail(response);
        onFailure(error, request);
      })
      .catch(ignore);
  };
}

/** What a request asks for, without its query; and the query. Never throws, whatever the target is. */
interface RequestTarget {
  /** As it was sent: neither decoded nor tidied, so that two spellings are two paths. Starts with `/`. */
  readonly path: string;
  readonly query: URLSearchParams;
}

/** Splits the target of a request: `/path?query`, also in the absolute form `http://host/path`, whose host is ignored. */
export function requestTarget(url: string | undefined): RequestTarget {
  const target = (url ?? "/").replace(/^https?:\/\/[^/?#]*/i, "").replace(/#.*$/s, "");
  const question = target.indexOf("?");
  const path = question < 0 ? target : target.slice(0, question);
  return { path: path.startsWith("/") ? path : `/${path}`, query: new URLSearchParams(question < 0 ? "" : target.slice(question + 1)) };
}

/** `/a//` as `/a`; `/` stays. Linear in the length: a path is the caller's text, and an expression would try from every slash. */
export function withoutTrailingSlashes(path: string): string {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end -= 1;
  return path.slice(0, end);
}

function fail(response: ServerResponse): void {
  if (response.headersSent) return void response.destroy();
  const body = JSON.stringify({ error: { code: "internal_error", message: "The request could not be handled." } });
  response.writeHead(500, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body);
}

function ignore(): void {}

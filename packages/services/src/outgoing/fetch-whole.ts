import { withDeadline } from "./deadline.ts";

interface WholeRequest {
  /** Default POST. */
  readonly method?: "GET" | "POST";
  /** Sent with the request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Default: none. */
  readonly body?: string;
}

interface WholeLimits {
  /** For headers and body together. */
  readonly timeoutMs: number;
  /** Default {@link MAX_ANSWER_BYTES}. */
  readonly maxBytes?: number;
}

export interface WholeAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An answer longer than this is none. A page of 1,000 events is a tenth of it. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/**
 * Sends a request, and reads the whole answer into memory: headers and body within one deadline, and of so many bytes at most. So
 * nothing of an answer is left that could fail after this has returned. A redirect is an answer like any other: it is not
 * followed with a secret key. Rejects with `TimeoutError`, `AnswerTooLargeError`, or what `fetch` says of the connection.
 */
export async function fetchWhole(
  url: string,
  request: WholeRequest,
  { timeoutMs, maxBytes = MAX_ANSWER_BYTES }: WholeLimits,
): Promise<WholeAnswer> {
  return withDeadline(timeoutMs, async (signal) => {
    const response = await begin(url, request, signal);
    return { status: response.status, headers: response.headers, text: await readWhole(response, signal, maxBytes) };
  });
}

/** As {@link fetchWhole}, of an answer of which nothing but the status counts: its body is not read. */
export async function fetchStatus(url: string, request: WholeRequest, { timeoutMs }: Pick<WholeLimits, "timeoutMs">): Promise<number> {
  return withDeadline(timeoutMs, async (signal) => {
    const response = await begin(url, request, signal);
    // Nobody waits for this. The connection is given up, whatever the other end does.
    response.body?.cancel().catch(() => undefined);
    return response.status;
  });
}

const begin = (url: string, { method = "POST", headers, body }: WholeRequest, signal: AbortSignal): Promise<Response> =>
  fetch(url, { method, headers, ...(body !== undefined && { body }), redirect: "manual", signal });

async function readWhole(response: Response, signal: AbortSignal, maxBytes: number): Promise<string> {
  if (response.body === null) return "";
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  // `fetch` may have stopped listening to the signal once it had the headers. This gives up the connection of a body that stalls.
  const giveUp = (): void => void reader.cancel(signal.reason).catch(() => undefined);
  signal.addEventListener("abort", giveUp, { once: true });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      bytes += read.value.byteLength;
      if (bytes > maxBytes) {
        giveUp();
        throw Object.assign(new Error(`the answer is longer than ${maxBytes} bytes`), {
          name: "AnswerTooLargeError",
          code: "answer_too_large",
        });
      }
      chunks.push(read.value);
    }
    // A stream that was given up ends like one that is complete.
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
  return Buffer.concat(chunks).toString("utf8");
}

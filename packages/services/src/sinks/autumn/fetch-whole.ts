import { withDeadline } from "../port/deadline.ts";

export interface WholeRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface WholeAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An answer longer than this is none. A page of 1,000 events is a tenth of it. */
export const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/**
 * Posts, and reads the whole answer into memory: headers and body within one deadline, at most {@link MAX_ANSWER_BYTES}. So
 * nothing of an answer is left that could fail after this has returned. A redirect is an answer like any other: it is not
 * followed with a secret key. Rejects with `TimeoutError`, `AnswerTooLargeError`, or what `fetch` says of the connection.
 */
export async function postWhole(url: string, request: WholeRequest, timeoutMs: number): Promise<WholeAnswer> {
  return withDeadline(timeoutMs, async (signal) => {
    const response = await fetch(url, { method: "POST", headers: request.headers, body: request.body, redirect: "manual", signal });
    return { status: response.status, headers: response.headers, text: await readWhole(response, signal) };
  });
}

async function readWhole(response: Response, signal: AbortSignal): Promise<string> {
  if (response.body === null) return "";
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  // Whatever became of the signal inside of fetch, the connection of an answer that stalls is given up with it.
  const giveUp = (): void => void reader.cancel(signal.reason).catch(() => undefined);
  signal.addEventListener("abort", giveUp, { once: true });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      bytes += read.value.byteLength;
      if (bytes > MAX_ANSWER_BYTES) {
        giveUp();
        throw Object.assign(new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`), {
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

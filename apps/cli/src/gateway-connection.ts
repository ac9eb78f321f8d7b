import { setTimeout as delay } from "node:timers/promises";
import { gatewayErrorSchema, type SessionEvent, sessionEventSchema } from "@proliferate/shared/contracts";
import { AppError, ERROR_CODES, type ErrorCode, isAppError } from "@proliferate/shared/errors";

export interface GatewayConnection {
  /**
   * Returns the parsed answer. Throws the gateway's own error, with its code. A call with an idempotency key whose connection
   * broke is made again for half a minute: the gateway may have begun it, and answers the same.
   */
  call(
    method: string,
    path: string,
    options?: { readonly body?: object; readonly headers?: Readonly<Record<string, string>> },
  ): Promise<unknown>;
  /** As `call`, of a route that answers text. */
  text(path: string): Promise<string>;
  /**
   * A session's events in order, each once, until there are no more. A gateway that goes away meanwhile is asked again for
   * half a minute, from the event after the last one.
   */
  events(sessionId: string, until: "ready" | "ended"): AsyncIterable<SessionEvent>;
}

/** The gateway's HTTP API, with a bearer token. Throws `env_invalid` naming what is not set. Opens nothing until it is called. */
export function connectGateway(url: string | undefined, token: string | undefined): GatewayConnection {
  const missing = [url === undefined && "GATEWAY_URL", token === undefined && "GATEWAY_API_TOKEN"].filter((name) => name !== false);
  if (missing.length > 0) throw new AppError("env_invalid", `${missing.join(" and ")} not set; the session commands speak to a gateway.`);
  const send = async (
    method: string,
    path: string,
    { body, headers }: { readonly body?: object; readonly headers?: Readonly<Record<string, string>> } = {},
  ): Promise<Response> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body && { "content-type": "application/json" }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
    }).catch((error: unknown) => {
      throw new AppError("gateway_unreachable", `The gateway at ${url} does not answer.`, { cause: error });
    });
    if (response.ok) return response;
    throw errorOf(await response.json().catch(() => undefined), response.status);
  };
  return {
    call: async (method, path, options) => {
      const ask = (): Promise<Response> => send(method, path, options);
      const response = await ask().catch((error: unknown) => {
        if (options?.headers?.["idempotency-key"] === undefined || !isBroken(error)) throw error;
        return whileGatewayRestarts(ask, true);
      });
      return response.json();
    },
    text: async (path) => (await send("GET", path)).text(),
    async *events(sessionId, until) {
      const path = `/v1/sessions/${encodeURIComponent(sessionId)}/events?until=${until}`;
      let last: string | undefined;
      for (;;) {
        const response = await whileGatewayRestarts(
          () => send("GET", path, last === undefined ? {} : { headers: { "last-event-id": last } }),
          last !== undefined,
        );
        if (response.status === 204 || !response.body) return;
        for await (const event of readEvents(response.body)) {
          last = event.event_id;
          yield event;
        }
        if (last === undefined) return;
      }
    },
  };
}

/** Whether a gateway was there and went away, rather than never answered. */
const isBroken = (error: unknown): boolean =>
  isAppError(error, "gateway_unreachable") && (error.cause as { cause?: { code?: unknown } } | undefined)?.cause?.code !== "ECONNREFUSED";

const RESTART_TIMEOUT_MS = 30_000;
const RESTART_POLL_MS = 500;

/** Asks again while nobody answers, as long as a restart may take; at once with `isRepeatable` false. */
async function whileGatewayRestarts<T>(ask: () => Promise<T>, isRepeatable: boolean): Promise<T> {
  const deadline = performance.now() + (isRepeatable ? RESTART_TIMEOUT_MS : 0);
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const isRestarting = isAppError(error, "gateway_unreachable") || isAppError(error, "idempotency_in_progress");
      if (!isRestarting || performance.now() > deadline) throw error;
      await delay(RESTART_POLL_MS);
    }
  }
}

/** The gateway's `data` lines; each is a whole event. */
async function* readEvents(body: ReadableStream<Uint8Array>): AsyncIterable<SessionEvent> {
  let text = "";
  for await (const chunk of untilBroken(body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>))) {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data: ")) yield sessionEventSchema.parse(JSON.parse(line.slice("data: ".length)));
  }
}

/** Ends where the connection does, however that was. */
async function* untilBroken(stream: ReadableStream<string>): AsyncIterable<string> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done || value === undefined) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function errorOf(body: unknown, status: number): AppError {
  const parsed = gatewayErrorSchema.safeParse(body);
  if (!parsed.success || !(parsed.data.error.code in ERROR_CODES))
    return new AppError("gateway_unreachable", `Status ${status} without an error of the gateway: something else answers there.`);
  const { code, message } = parsed.data.error;
  return new AppError(code as ErrorCode, message);
}

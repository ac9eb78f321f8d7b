import { gatewayErrorSchema, type SessionEvent, sessionEventSchema } from "@proliferate/shared/contracts";
import { AppError, ERROR_CODES, type ErrorCode } from "@proliferate/shared/errors";

export interface GatewayConnection {
  /** Returns the parsed answer. Throws the gateway's own error, with its code. */
  call(method: string, path: string, options?: { readonly body?: object; readonly headers?: Readonly<Record<string, string>> }): Promise<unknown>;
  /** A session's events in order, until the gateway ends the stream. */
  events(sessionId: string, until: "ready" | "ended"): AsyncIterable<SessionEvent>;
}

/** The gateway's HTTP API, with a bearer token. Throws `env_invalid` naming what is not set. Opens nothing until it is called. */
export function connectGateway(url: string | undefined, token: string | undefined): GatewayConnection {
  const missing = [url === undefined && "GATEWAY_URL", token === undefined && "GATEWAY_API_TOKEN"].filter((name) => name !== false);
  if (missing.length > 0) throw new AppError("env_invalid", `${missing.join(" and ")} not set; the session commands speak to a gateway.`);
  const send = async (method: string, path: string, { body, headers }: { readonly body?: object; readonly headers?: Readonly<Record<string, string>> } = {}): Promise<Response> => {
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
    call: async (method, path, options) => (await send(method, path, options)).json(),
    async *events(sessionId, until) {
      const response = await send("GET", `/v1/sessions/${encodeURIComponent(sessionId)}/events?until=${until}`);
      if (response.body) yield* readEvents(response.body);
    },
  };
}

/** The gateway's `data` lines; each is a whole event. */
async function* readEvents(body: ReadableStream<Uint8Array>): AsyncIterable<SessionEvent> {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)) {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data: ")) yield sessionEventSchema.parse(JSON.parse(line.slice("data: ".length)));
  }
}

function errorOf(body: unknown, status: number): AppError {
  const parsed = gatewayErrorSchema.safeParse(body);
  if (!parsed.success || !(parsed.data.error.code in ERROR_CODES)) return new AppError("gateway_unreachable", `Status ${status} without an error of the gateway: something else answers there.`);
  const { code, message } = parsed.data.error;
  return new AppError(code as ErrorCode, message);
}

import { once } from "node:events";
import { createServer, type IncomingMessage, request as send, type ServerResponse } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** What one caller, known by its key, asked through a recorder. */
export interface Recorded {
  /** Requests for an answer of a model; lists of models, probes and counts of tokens are not. */
  answers: number;
  /** Of all requests: method and path without its query, in their order. */
  readonly asked: string[];
  /** Statuses of the answers to requests for an answer, in the order in which they came. */
  readonly statuses: number[];
  /** Pings that passed to it. */
  pings: number;
}

/** Stands between clients and a proxy: passes every byte on both ways, as it comes, and counts by key. */
export interface Recorder {
  /** Without a trailing slash and without `/v1`. */
  readonly url: string;
  readonly port: number;
  /** The same by a Unix socket, for whoever has no way to the port. */
  readonly socketPath: string;
  /** What the caller with this key has asked so far; the same object grows. */
  of(key: string): Recorded;
  /** Called with the key at each ping that passes. */
  onPing(listener: (key: string) => void): void;
  /** Called with the key at each request for an answer that is refused. */
  onRefusal(listener: (key: string) => void): void;
  stop(): Promise<void>;
}

/** Longer than any client waits before it asks again. */
const IDLE_MS = 300_000;
const ANSWERS = /\/(?:messages|chat\/completions|responses|embeddings|models\/[^/]+:(?:stream)?[gG]enerateContent)$/;
const PING = /(?:^|\n)(?:: ping\n|event: ping\n)/g;

/** Starts a recorder on any free port of this machine, in front of the proxy at this URL. */
export async function startRecorder(target: string): Promise<Recorder> {
  const callers = new Map<string, Recorded>();
  const pingListeners: ((key: string) => void)[] = [];
  const refusalListeners: ((key: string) => void)[] = [];
  const of = (key: string): Recorded => {
    const known = callers.get(key) ?? { answers: 0, asked: [], statuses: [], pings: 0 };
    callers.set(key, known);
    return known;
  };
  const server = createServer((request, response) => {
    const key = keyOf(request);
    relay(target, request, response, of(key), {
      onPing: () => {
        for (const listener of pingListeners) listener(key);
      },
      onRefusal: () => {
        for (const listener of refusalListeners) listener(key);
      },
    });
  });
  const second = createServer((request, response) => void server.emit("request", request, response));
  for (const one of [server, second]) one.keepAliveTimeout = IDLE_MS;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socketPath = join(await mkdtemp(join(tmpdir(), "recorder-")), "socket");
  second.listen(socketPath);
  await once(second, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    socketPath,
    of,
    onPing: (listener) => void pingListeners.push(listener),
    onRefusal: (listener) => void refusalListeners.push(listener),
    stop: async () => {
      for (const one of [server, second]) {
        one.closeAllConnections();
        one.close();
      }
      await rm(dirname(socketPath), { recursive: true, force: true });
    },
  };
}

function keyOf({ headers }: IncomingMessage): string {
  const shown = headers["x-api-key"] ?? headers["x-goog-api-key"] ?? headers.authorization?.replace(/^Bearer\s+/i, "");
  return String(shown ?? "none");
}

interface Events {
  onPing(): void;
  onRefusal(): void;
}

function relay(target: string, request: IncomingMessage, response: ServerResponse, recorded: Recorded, events: Events): void {
  const path = (request.url ?? "/").replace(/\?.*$/s, "");
  recorded.asked.push(`${request.method} ${path}`);
  const isAnswer = request.method === "POST" && ANSWERS.test(path);
  if (isAnswer) recorded.answers += 1;
  const asked = send(new URL(request.url ?? "/", target), {
    method: request.method,
    headers: request.headers,
    // A connection of its own: one that was kept might be closed in the moment in which it is used again, and the client would ask twice.
    agent: false,
  });
  request.pipe(asked);
  response.once("close", () => asked.destroy());
  // A connection that breaks on one side breaks on the other.
  asked.once("error", () => response.destroy());
  asked.once("response", (answer) => {
    const { statusCode = 502 } = answer;
    if (isAnswer) recorded.statuses.push(statusCode);
    if (isAnswer && statusCode >= 400) events.onRefusal();
    response.writeHead(statusCode, answer.headers);
    response.flushHeaders();
    answer.on("data", (chunk: Buffer) => {
      for (const _ of chunk.toString("latin1").matchAll(PING)) {
        recorded.pings += 1;
        events.onPing();
      }
    });
    answer.once("error", () => response.destroy());
    answer.pipe(response);
  });
}

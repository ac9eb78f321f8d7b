import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  hashOf,
  type KeyRow,
  type LiteLLMStandInOptions,
  type RecordedRequest,
  route,
  type Store,
  wrongMasterKey,
} from "./litellm-answers.ts";
import { answerSpendLogs, type ServedSpendRow } from "./litellm-spend-logs.ts";

/**
 * LiteLLM's management API in its own shapes, statuses, words and quirks, for tests of what calls it: errors with string
 * codes, details printed as a Python dict, about 55 fields for a key, the alias looked at before the key's value, a team
 * that need not exist at mint. Keys and teams live in memory. It serves no models.
 */
export interface LiteLLMStandIn {
  /** Without a trailing slash, without `/v1`. */
  readonly url: string;
  readonly masterKey: string;
  /** Every request in the order of arrival, refused and failed ones included. */
  readonly requests: readonly RecordedRequest[];
  /** Key rows by hash. A deleted key is gone. */
  readonly keys: ReadonlyMap<string, KeyRow>;
  readonly teams: ReadonlySet<string>;
  /** What `GET /spend/logs/v2` serves; the test fills it. */
  readonly spendRows: ServedSpendRow[];
  /** The next requests for this path meet these faults, one each, in this order. */
  failNext(path: string, ...faults: readonly Fault[]): void;
  /** True when the key exists, is not blocked and has not expired: what the data plane would ask. */
  accepts(key: string): boolean;
  /** Forgets requests, faults, keys and teams. */
  reset(): void;
  /** Cuts every connection and ends. Idempotent. */
  stop(): Promise<void>;
}

type Fault =
  /** This answer (an object as JSON, text as it is), with nothing done; or, `applied`, after the work was done. */
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly body: string | object;
      readonly headers?: Readonly<Record<string, string>>;
      readonly applied?: boolean;
    }
  /** The connection is cut; `applied`: after the work was done. */
  | { readonly kind: "reset"; readonly applied?: boolean }
  | { readonly kind: "hang" }
  /** A body that does not end, as fast as it is read. */
  | { readonly kind: "endless" };

/** Starts one on loopback. */
export async function startLiteLLMStandIn(options: LiteLLMStandInOptions = {}): Promise<LiteLLMStandIn> {
  const masterKey = options.masterKey ?? `sk-${randomBytes(24).toString("base64url")}`;
  const store: Store = { keys: new Map(), teams: new Set(), options };
  const requests: RecordedRequest[] = [];
  const faults = new Map<string, Fault[]>();
  const spendRows: ServedSpendRow[] = [];

  const server = createServer((request, response) => {
    void handle(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://stand-in");
    const body = await readBody(request);
    const recorded: RecordedRequest = {
      method: request.method ?? "",
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      body,
    };
    requests.push(recorded);
    const fault = faults.get(url.pathname)?.shift();
    if (fault && !("applied" in fault && fault.applied)) return misbehave(response, fault);
    const open = url.pathname.startsWith("/health/");
    if (url.pathname === "/spend/logs/v2" && request.headers.authorization === `Bearer ${masterKey}`) {
      const page = answerSpendLogs(spendRows, recorded.query, options.spendLogs);
      return send(response, page.status, page.text);
    }
    const answer = open || request.headers.authorization === `Bearer ${masterKey}` ? route(store, recorded) : wrongMasterKey(request);
    if (fault) return misbehave(response, fault);
    send(response, answer.status, JSON.stringify(answer.body));
  };
  await new Promise<void>((done, fail) => server.once("error", fail).listen(options.port ?? 0, "127.0.0.1", done));

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    masterKey,
    requests,
    keys: store.keys,
    teams: store.teams,
    spendRows,
    failNext: (path, ...next) => void faults.set(path, [...(faults.get(path) ?? []), ...next]),
    accepts(key) {
      const row = store.keys.get(hashOf(key));
      return row !== undefined && row.blocked !== true && (row.expires === null || Date.parse(row.expires) > Date.now());
    },
    reset() {
      requests.length = 0;
      faults.clear();
      store.keys.clear();
      store.teams.clear();
      spendRows.length = 0;
    },
    stop: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

async function readBody(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
}

function send(response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
}

function misbehave(response: ServerResponse, fault: Fault): void {
  if (fault.kind === "answer")
    return send(response, fault.status, typeof fault.body === "string" ? fault.body : JSON.stringify(fault.body), fault.headers);
  if (fault.kind === "reset") return void response.socket?.resetAndDestroy();
  if (fault.kind === "hang") return;
  response.writeHead(200, { "content-type": "application/json" });
  const filler = Buffer.alloc(64 * 1024, " ");
  const pour = (): void => {
    while (!response.destroyed && response.write(filler));
  };
  response.on("drain", pour);
  pour();
}

import type { Server } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import type { DatabaseClient } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { createLogger, listen } from "@proliferate/runtime";
import { nextInstanceId } from "@proliferate/access/requests";
import { type SessionAdmission, SessionLauncher } from "@proliferate/services/sessions";
import type { LLMProxyConfig } from "@proliferate/shared";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import type { GatewayApp, GatewayDependencies } from "../src/dependencies.ts";
import { connectLLMProxy } from "../src/llm-proxy.ts";
import { ReportRoom } from "../src/report-room.ts";
import { createServer } from "../src/server.ts";
import { SessionEventSignal } from "../src/session-event-signal.ts";

export const TOKEN = "test-token-0123456789";
export const METRICS_TOKEN = "metrics-token-0123456789";
export const SECOND_TOKEN = "other-token-0123456789";

/** Of Autumn's events; made up. */
export const WEBHOOK_SECRET = `whsec_${Buffer.from("a-secret-of-the-tests-only").toString("base64")}`;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- answers are asserted on field by field
  readonly body: any;
}

export interface TestGateway {
  readonly app: GatewayApp;
  readonly url: string;
  readonly database: TestDatabase;
  readonly proxy: LiteLLMStandIn;
  /** One real HTTP request with the token; `headers` win. */
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  stop(): Promise<void>;
}

/** The gateway on a real socket, on a database of its own, before LiteLLM's management API. */
export async function startTestGateway(): Promise<TestGateway> {
  const database = await createTestDatabase();
  const proxy = await startLiteLLMStandIn();
  const gateway = await serveGateway(database.db, {
    adminUrl: proxy.url,
    baseUrl: "https://llm.example.com/v1",
    masterKey: proxy.masterKey,
  });
  return {
    ...gateway,
    database,
    proxy,
    stop: async () => {
      await gateway.stop();
      await proxy.stop();
      await database.drop();
    },
  };
}

/** The gateway on a real socket, before any proxy; with `admission`, its billing gate is on; with `sandboxes`, it launches them; with `comparison`, it has a sink. */
export async function serveGateway(
  db: DatabaseClient,
  proxy: LLMProxyConfig,
  admission?: SessionAdmission,
  sandboxes?: SessionLauncher,
  comparison?: GatewayDependencies["comparison"],
  sessionEvents = new SessionEventSignal({ heardMs: 25_000, unheardMs: 250 }),
  reports = new ReportRoom({ db, idleMs: 500 }),
): Promise<Pick<TestGateway, "app" | "url" | "call" | "stop">> {
  const app = createServer({
    db,
    reports,
    logger: createLogger("gateway-test", "silent"),
    apiTokens: [TOKEN, SECOND_TOKEN],
    metricsToken: METRICS_TOKEN,
    autumnWebhookSecrets: [WEBHOOK_SECRET],
    defaultModel: "claude-sonnet-4-5",
    smallModel: "claude-haiku-4-5",
    proxy: connectLLMProxy(proxy),
    admission,
    comparison,
    sessionEvents,
    sandboxes: sandboxes ?? new SessionLauncher({ db, providers: new Map() }),
    // One test's database cannot be reached.
    instanceId: await nextInstanceId(db).catch(() => 0),
  });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  const listener = await listen(server, { port: 0, host: "127.0.0.1", portVariable: "GATEWAY_PORT" });
  const url = `http://127.0.0.1:${listener.port}`;
  return { app, url, call: (method, path, body, headers) => request(`${url}${path}`, method, body, headers), stop: () => listener.stop() };
}

/** Text and bytes are sent as they are, everything else as JSON. */
async function request(url: string, method: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const raw = typeof body === "string" ? body : body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(url, {
    method,
    headers: {
      authorization: `Bearer ${TOKEN}`,
      connection: "close",
      ...(raw === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(raw === undefined ? {} : { body: raw }),
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === "" ? undefined : isJson(answer) ? JSON.parse(text) : text };
}

const isJson = (answer: Response): boolean => /^application\/json\b/.test(answer.headers.get("content-type") ?? "");

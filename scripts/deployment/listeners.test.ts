import { connect } from "node:net";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestDeployment, type TestDeployment, TOKEN } from "./test-deployment.ts";

/** Every HTTP listener of the product, and those of the stand-ins, against what no client sends by mistake. */

const LISTENERS = ["proxy", "management", "gateway", "operators", "worker", "provider", "autumn"] as const;
/** Answers without a credential, whatever happened before. */
const ALIVE: Readonly<Record<(typeof LISTENERS)[number], string>> = {
  proxy: "/health/liveliness",
  management: "/health/liveliness",
  gateway: "/health",
  operators: "/health",
  worker: "/livez",
  provider: "/",
  autumn: "/",
};

let database: TestDatabase;
let deployment: TestDeployment;
beforeAll(async () => {
  database = await createTestDatabase();
  deployment = await startTestDeployment({
    databaseEnvironment: { DATABASE_URL: database.connectionString },
    db: database.db,
    environment: { GATEWAY_OPERATOR_PORT: "0" },
  });
});
afterAll(async () => {
  await deployment?.stop();
  await database?.drop();
});

const urlOf = (listener: (typeof LISTENERS)[number]): URL => {
  const part = deployment[listener] ?? "http://127.0.0.1:1";
  return new URL(typeof part === "string" ? part : part.url);
};

/** The status line, or "" where the connection was closed without one. */
async function send(url: URL, bytes: string | Uint8Array): Promise<string> {
  return new Promise((done) => {
    const socket = connect(Number(url.port), url.hostname, () => socket.end(bytes));
    let answer = "";
    const finish = (): void => {
      socket.destroy();
      done(answer.split("\r\n")[0] ?? "");
    };
    socket.setTimeout(5_000, finish);
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.on("error", finish);
    socket.on("close", finish);
  });
}

const get = (target: string, headers = ""): string => `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`;
const isAlive = async (listener: (typeof LISTENERS)[number]): Promise<boolean> =>
  (await fetch(new URL(ALIVE[listener], urlOf(listener)))).status < 500;

const REQUESTS: readonly string[] = [
  ...[
    "//",
    "///",
    "//[",
    "//:0/",
    "//a:b@c:99999/",
    "/%",
    "/%00",
    "/%ff%fe",
    "/..//..",
    "*",
    "http://",
    "http://[::1",
    "http://[/x",
    "/?%",
    "/\\",
    `/${"a".repeat(15_000)}`,
    "/v1/sessions/%",
    "/v1/orgs/%00/usage",
    "/v1/models/%",
    "/v1/models/%E0%A4%A",
  ].map((target) => get(target)),
  get("/", "Host: y\r\n"),
  get("/status", "Authorization: Bearer \u00ff\r\n"),
  get("/v1/models", `Authorization: Bearer ${"x".repeat(7_000)}\r\n`),
  get("//", "Expect: 100-continue\r\n"),
  get("/livez", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
  "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
  "TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "PROPFIND // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "POST // HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nab",
  "POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  "GET / HTTP/1.1\r\n\r\n",
  "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "\u0000\u0001\u0002\r\n\r\n",
];

test.each(LISTENERS)("code 1: nothing that is sent to the %s ends it, and nothing is its own failure", async (listener) => {
  for (const request of REQUESTS) {
    const status = await send(urlOf(listener), request);

    expect({ request: request.slice(0, 60), status }).toEqual({
      request: request.slice(0, 60),
      status: expect.not.stringMatching(/ 5(?!01)\d\d/),
    });
  }

  expect(await isAlive(listener)).toBe(true);
});

test.each(LISTENERS)("code 1: nor does any target that chance finds end the %s", async (listener) => {
  const piece = fc.constantFrom(
    "/",
    "//",
    "..",
    "%",
    "%2f",
    "%00",
    "%ff",
    "[",
    "]",
    ":",
    "@",
    "?",
    "#",
    "&",
    "=",
    "\\",
    "v1",
    "sessions",
    "key",
    "info",
    "a",
    "*",
    "http:",
    ";",
    "~",
    "+",
  );
  const target = fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => pieces.join(""));
  await fc.assert(
    fc.asyncProperty(target, async (text) => {
      expect(await send(urlOf(listener), get(text))).not.toMatch(/ 5\d\d/);
    }),
    { numRuns: 60 },
  );

  expect(await isAlive(listener)).toBe(true);
});

const statusOf = async (listener: "gateway" | "operators", path: string): Promise<number> =>
  (await fetch(new URL(path, urlOf(listener)), { headers: { authorization: `Bearer ${TOKEN}` } })).status;

test("the gateway's two listeners share nothing but health: neither serves the other's routes, whoever asks", async () => {
  for (const path of ["/v1/sessions?org_id=a", "/v1/orgs/a/usage"])
    expect({ path, tenants: await statusOf("gateway", path), operators: await statusOf("operators", path) }).toEqual({
      path,
      tenants: 200,
      operators: 404,
    });
  for (const path of ["/v1/billing/status", "/v1/tokens", "/metrics"])
    expect({ path, tenants: await statusOf("gateway", path), operators: await statusOf("operators", path) }).toEqual({
      path,
      tenants: 404,
      operators: 200,
    });
  for (const path of ["/health", "/livez", "/readyz", "/openapi.json"])
    expect([await statusOf("gateway", path), await statusOf("operators", path)]).toEqual([200, 200]);
});

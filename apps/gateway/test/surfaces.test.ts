import { createRoute, z } from "@hono/zod-openapi";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { createLogger } from "@proliferate/runtime";
import { SessionLauncher } from "@proliferate/services/sessions";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { GatewayDependencies } from "../src/dependencies.ts";
import { connectLLMProxy } from "../src/llm-proxy.ts";
import { jsonBody } from "../src/openapi.ts";
import { createServer } from "../src/server.ts";
import { type Audience, isUnder, type Surface, surfaceOfPath, surfacesFor } from "../src/surface.ts";
import { SessionEventSignal } from "../src/session-event-signal.ts";
import { ReportRoom } from "../src/report-room.ts";
import { SURFACES } from "../src/surfaces/index.ts";
import { TOKEN } from "./test-gateway.ts";

let database: TestDatabase;
let dependencies: GatewayDependencies;
beforeAll(async () => {
  database = await createTestDatabase();
  dependencies = {
    db: database.db,
    reports: new ReportRoom({ db: database.db }),
    logger: createLogger("surfaces-test", "silent"),
    apiTokens: [TOKEN],
    autumnWebhookSecrets: [],
    defaultModel: "claude-sonnet-4-5",
    smallModel: "claude-haiku-4-5",
    proxy: connectLLMProxy({ adminUrl: "http://127.0.0.1:1", baseUrl: "http://127.0.0.1:1/v1", masterKey: "sk-of-the-test" }),
    sandboxes: new SessionLauncher({ db: database.db, providers: new Map() }),
    sessionEvents: new SessionEventSignal({ heardMs: 25_000, unheardMs: 250 }),
    instanceId: 0,
  };
});
afterAll(() => database.drop());

const pathsOf = (audience: Audience): readonly string[] => [
  ...new Set(
    createServer(dependencies, { audience })
      .routes.filter(({ method }) => method !== "ALL")
      .map(({ path }) => path),
  ),
];

test("the listeners of tenants and of operators together serve what one serves that joins them, and share only what supervisors ask", () => {
  const [tenants, operators, joined] = [pathsOf("tenants"), pathsOf("operators"), pathsOf("joined")];

  expect([...new Set([...tenants, ...operators])].sort()).toEqual([...joined].sort());
  expect(tenants.filter((path) => operators.includes(path)).sort()).toEqual(["/health", "/livez", "/openapi.json", "/readyz"]);
  expect(tenants.filter((path) => !operators.includes(path)).every((path) => /^\/(v1\/(sessions|orgs)|webhooks)(\/|$)/.test(path))).toBe(
    true,
  );
});

test("every route lies under a path of the surface that registers it", () => {
  for (const surface of SURFACES) {
    const app = createServer(dependencies, { surfaces: [surface] });
    const paths = app.routes.filter(({ method, path }) => method !== "ALL" && path !== "/openapi.json").map(({ path }) => path);

    expect(paths.length).toBeGreaterThan(0);
    expect(paths.filter((path) => surfaceOfPath(path, SURFACES) !== surface && surface.name !== "health")).toEqual([]);
  }
});

test.each([
  ["/v1/sessions", "/v1/sessions", true],
  ["/v1/sessions/a", "/v1/sessions", true],
  ["/v1/sessions-of-others", "/v1/sessions", false],
  ["/v1/orgs/a", "/v1/orgs/", true],
  ["/v1/orgs", "/v1/orgs/", false],
])("%s under %s: %s", (path, begin, expected) => {
  expect(isUnder(path, begin)).toBe(expected);
});

const enveloped = (status: number): object => ({
  status,
  body: { error: expect.any(String), code: expect.any(String), status, request_id: expect.any(String) },
});

test("a surface's envelope is that of every error under its paths: 401, 404, 405, 413, 400 and 500", async () => {
  const broken = createRoute({
    method: "post",
    path: "/v1/toys/broken",
    request: { body: jsonBody(z.strictObject({ name: z.string() })) },
    responses: { 200: { description: "Never." } },
  });
  const toys: Surface = {
    name: "toys",
    audience: "tenants",
    paths: ["/v1/toys"],
    rights: [],
    envelope: ({ code, message, request_id }, status) => ({ error: message, code, status, request_id }),
    register: (app) => {
      app.openapi(broken, () => {
        throw new Error("a fault of ours");
      });
    },
  };
  const app = createServer(dependencies, { surfaces: [...SURFACES, toys] });
  const ask = async (path: string, init: RequestInit = {}): Promise<{ readonly status: number; readonly body: unknown }> => {
    const answer = await app.request(path, {
      ...init,
      headers: {
        "authorization": `Bearer ${TOKEN}`,
        "content-type": "application/json",
        "content-length": String(init.body ?? "").length.toString(),
        ...(init.headers as Record<string, string>),
      },
    });
    return { status: answer.status, body: await answer.json() };
  };

  expect(await ask("/v1/toys/broken", { headers: { authorization: "" } })).toEqual(enveloped(401));
  expect(await ask("/v1/toys/none")).toEqual(enveloped(404));
  expect(await ask("/v1/toys/broken")).toEqual(enveloped(405));
  expect(await ask("/v1/toys/broken", { method: "POST", body: JSON.stringify({ name: 1 }) })).toEqual(enveloped(400));
  expect(await ask("/v1/toys/broken", { method: "POST", body: JSON.stringify({ name: "x".repeat(1_100_000) }) })).toEqual(enveloped(413));
  expect(await ask("/v1/toys/broken", { method: "POST", body: JSON.stringify({ name: "a" }) })).toEqual(enveloped(500));
  expect(await ask("/v1/none")).toMatchObject({ status: 404, body: { error: { code: "not_found" } } });
  // Not served here, and still in its own words.
  const operators = createServer(dependencies, { audience: "operators", surfaces: [...SURFACES, toys] });
  const elsewhere = await operators.request("/v1/toys/broken", { headers: { authorization: `Bearer ${TOKEN}` } });
  expect({ status: elsewhere.status, body: await elsewhere.json() }).toEqual(enveloped(404));
  expect(surfacesFor("operators", [toys])).toEqual([]);
});

import { readFile } from "node:fs/promises";
import { ERROR_CODES } from "@proliferate/shared/errors";
import { afterAll, beforeAll, expect, test } from "vitest";
import { billOneRequest, reviewOneRequest } from "./billed-request.ts";
import { startTestGateway, type TestGateway } from "./test-gateway.ts";

interface Operation {
  readonly summary?: string;
  readonly security?: readonly object[];
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
  readonly operationId?: string;
  readonly tags?: readonly string[];
  readonly requestBody?: {
    readonly required?: boolean;
    readonly content?: Readonly<Record<string, { readonly schema: object; readonly example?: object }>>;
  };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: object }>>;
}

const WITH_BODY = new Set(["POST", "PUT", "PATCH"]);
/** Acts on what its path names, and needs nothing more. */
const WITHOUT_BODY = new Set([
  "/v1/sessions/{session_id}/pause",
  "/v1/billing/batches/{batch_id}/redrive",
  "/v1/billing/reviews/{review_key}/dismiss",
  "/v1/billing/orgs/{org_id}/reconcile",
  "/v1/billing/orgs/{org_id}/flush",
  "/webhooks/autumn",
]);
const STATUS: Readonly<Record<string, number>> = {
  // Asked without a signature; autumn-webhooks.test.ts has the rest.
  "POST /webhooks/autumn": 401,
  // Asked after the session has ended; launch.test.ts has what they answer otherwise.
  "POST /v1/sessions/{session_id}/extend": 409,
  "POST /v1/sessions/{session_id}/pause": 409,
  "POST /v1/sessions/{session_id}/resume": 409,
  "GET /v1/sessions/{session_id}/log": 409,
  "POST /v1/sessions": 201,
  "POST /v1/tokens": 201,
  // Asked after the token was revoked; service-tokens.test.ts has the rest.
  "POST /v1/tokens/{token_id}/rotate": 404,
  "POST /v1/billing/rate-cards": 201,
  "POST /v1/billing/orgs/{org_id}/reconcile": 202,
  "POST /v1/billing/orgs/{org_id}/flush": 202,
  // Asked before one is set.
  "GET /v1/billing/orgs/{org_id}/top-up-policy": 404,
  // There is none; operator.test.ts has the rest.
  "POST /v1/billing/top-ups/{top_up_id}/settle": 404,
  "POST /v1/billing/alerts/{alert_key}/clear": 404,
  // This gateway has no sink.
  "POST /v1/billing/reconcile": 409,
};

let gateway: TestGateway;
let document: {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: Readonly<Record<string, object>>;
  readonly servers?: readonly object[];
  readonly tags?: readonly { readonly name: string }[];
};
let operations: readonly { readonly method: string; readonly path: string; readonly operation: Operation }[];
beforeAll(async () => {
  gateway = await startTestGateway();
  document = (await gateway.call("GET", "/openapi.json")).body;
  operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
});
afterAll(() => gateway.stop());

/** What the document shows for a body. */
const exampleOf = (operation: Operation): object | undefined => operation.requestBody?.content?.["application/json"]?.example;

test("the document has every route that is served, and no other", () => {
  const served = gateway.app.routes
    .filter(({ method, path }) => method !== "ALL" && path !== "/openapi.json")
    .map(({ method, path }) => `${method} ${path.replaceAll(/:([^/]+)/g, "{$1}")}`);

  expect(operations.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([...new Set(served)].sort());
});

test("docs/http-api.md names the same routes", async () => {
  const page = await readFile(new URL("../../../docs/http-api.md", import.meta.url), "utf8");
  const named = [...page.matchAll(/^### `([A-Z]+) ([^`]+)`$/gm)].map(([, method, path]) => `${method} ${path}`);

  expect(named.sort()).toEqual([...operations.map(({ method, path }) => `${method} ${path}`), "GET /openapi.json"].sort());
});

test("every operation states its summary, its token, its body and its path parameters", () => {
  for (const { method, path, operation } of operations) {
    const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name);
    expect({
      path,
      summary: (operation.summary ?? "") !== "",
      token: (operation.security ?? []).length > 0,
      body: operation.requestBody?.required === true,
      parameters: (operation.parameters ?? []).filter((parameter) => parameter.in === "path" && parameter.required).map(({ name }) => name),
    }).toEqual({
      path,
      summary: true,
      token: path.startsWith("/v1/") || path === "/metrics",
      body: WITH_BODY.has(method) && !WITHOUT_BODY.has(path),
      parameters: inPath,
    });
  }
});

test("every error that a route documents has the status of its code, and every reference leads somewhere", () => {
  for (const { operation } of operations) {
    for (const [status, { description }] of Object.entries(operation.responses)) {
      const codes = [...description.matchAll(/`([a-z_]+)`/g)]
        .map(([, code]) => code)
        .filter((code) => code !== undefined && code in ERROR_CODES);
      expect(codes.map((code) => ERROR_CODES[code as keyof typeof ERROR_CODES].status)).toEqual(codes.map(() => Number(status)));
    }
  }
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name ?? "");
  expect(references.length).toBeGreaterThan(operations.length);
  expect(Object.keys(document.components["schemas"] ?? {})).toEqual(expect.arrayContaining(references));
});

test("every documented route really answers, with a status that it documents", async () => {
  await gateway.call("POST", "/v1/sessions", { session_id: "s1", org_id: "org_a" });
  const tokenId = (await gateway.call("POST", "/v1/tokens", { name: "backend", scopes: ["sessions:read"] })).body.token_id;
  const batchId = await billOneRequest(gateway.database.db, "msg_1");
  await reviewOneRequest(gateway.database.db, "msg_2");
  const required: Readonly<Record<string, string>> = { "/v1/sessions": "?org_id=org_a" };
  for (const { method, path, operation } of operations) {
    const concrete = path
      .replace("{session_id}", "s1")
      .replace("{token_id}", tokenId)
      .replace("{team_id}", "team_1")
      .replace("{org_id}", "org_of_msg_1")
      .replace("{id}", "msg_1")
      .replace("{batch_id}", batchId)
      .replace("{review_key}", "id:msg_2")
      .replace("{top_up_id}", "none")
      .replace("{key_hash}", "hash_of_a_key")
      .replace("{sink}", "stripe")
      .replace("{month}", "2020-01")
      .replace("{alert_key}", "partition_missing");
    const { status } = await gateway.call(method, concrete + (method === "GET" ? (required[path] ?? "") : ""), exampleOf(operation));
    expect({ method, path, status, documented: String(status) in operation.responses }).toMatchObject({
      method,
      path,
      status: STATUS[`${method} ${path}`] ?? 200,
      documented: true,
    });
  }
});

test("users 08: every operation has a name for clients, a group, a server and a stated security; every required body an example", () => {
  const ids = operations.map(({ operation }) => operation.operationId ?? "");
  const tags = (document.tags ?? []).map(({ name }) => name);

  expect(ids.filter((id) => !/^(get|post|put|patch|delete)([A-Z][a-z]+)+$/.test(id))).toEqual([]);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(
    expect.arrayContaining(["postSessions", "getSession", "postSessionPause", "getOrgUsage", "postBillingBatchRedrive", "getLivez"]),
  );
  expect(
    operations.filter(({ operation }) => operation.tags?.length !== 1 || !tags.includes(operation.tags[0] ?? "")).map(({ path }) => path),
  ).toEqual([]);
  expect(operations.filter(({ operation }) => operation.security === undefined).map(({ path }) => path)).toEqual([]);
  expect(document.servers).toEqual([{ url: "/", description: expect.any(String) }]);
  expect(
    operations
      .filter(
        ({ operation }) =>
          operation.requestBody?.content?.["application/json"] && exampleOf(operation) === undefined && operation.requestBody.required,
      )
      .map(({ operation }) => operation.operationId),
  ).toEqual([]);
});

test("users 08: no field of a request has a default that a generated client would have to send", () => {
  const bodies = operations.flatMap(({ operation }) => operation.requestBody?.content?.["application/json"]?.schema ?? []);
  const components = JSON.stringify(document.components["schemas"]);

  expect(JSON.stringify(bodies)).not.toContain('"default":');
  expect(components).toMatch(/Default: .{1,3}none/);
});

test("users 17: where a body is required, none is refused, and so is an empty one", async () => {
  for (const { method, path } of operations.filter(({ operation }) => operation.requestBody?.required)) {
    const concrete = path.replaceAll(/\{[^}]+\}/g, "nobody");

    expect({ method, path, answer: await gateway.call(method, concrete) }).toMatchObject({
      method,
      path,
      answer: { status: 400, body: { error: { code: "invalid_request", message: expect.stringContaining("needs a JSON body") } } },
    });
  }
});

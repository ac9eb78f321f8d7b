import { openDatabase } from "@proliferate/db";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SECOND_TOKEN, serveGateway, startTestGateway, type TestGateway, TOKEN } from "./test-gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(() => gateway.stop());

const countSessions = async (): Promise<number> =>
  (await gateway.database.db.selectFrom("gateway_sessions").select("session_id").execute()).length;

test.each([
  ["no token", { authorization: "" }],
  ["a wrong token", { authorization: "Bearer wrong-token-0123456789" }],
  ["a token in another scheme", { authorization: `Basic ${TOKEN}` }],
  ["a part of a token", { authorization: `Bearer ${TOKEN.slice(0, -1)}` }],
])("%s is refused, on a route that does not exist, too", async (_case, headers) => {
  const known = await gateway.call("POST", "/v1/sessions", { org_id: "org_a" }, headers);
  const unknown = await gateway.call("GET", "/v1/nothing", undefined, headers);

  expect([known.status, known.body.error.code, known.headers.get("www-authenticate")]).toEqual([401, "unauthorized", "Bearer"]);
  expect(unknown.status).toBe(401);
  expect(await countSessions()).toBe(0);
});

test("each of several tokens is accepted, so that one can be replaced while the other works", async () => {
  const answer = await gateway.call("GET", "/v1/billing/status", undefined, { authorization: `Bearer ${SECOND_TOKEN}` });

  expect(answer.status).toBe(200);
});

test("a request id is taken over, sent back, and named in an error", async () => {
  const { headers, body } = await gateway.call("GET", "/v1/sessions/none", undefined, { "x-request-id": "trace-7" });

  expect(headers.get("x-request-id")).toBe("trace-7");
  expect(body).toEqual({
    error: { code: "session_not_found", message: "There is no session none.", fix: expect.any(String), request_id: "trace-7" },
  });
});

test("a request id that could forge a log line is replaced", async () => {
  const { headers } = await gateway.call("GET", "/livez", undefined, { "x-request-id": "a b{}" });

  expect(headers.get("x-request-id")).toMatch(/^req_[0-9a-f-]{36}$/);
});

test("a path that does not exist and a method that a path does not take are told apart", async () => {
  const unknown = await gateway.call("GET", "/v1/nothing");
  const method = await gateway.call("PUT", "/v1/sessions/s1", {});

  expect([unknown.status, unknown.body.error.code]).toEqual([404, "not_found"]);
  expect([method.status, method.body.error.code, method.headers.get("allow")]).toEqual([405, "method_not_allowed", "GET, DELETE"]);
});

test("each error is in the one envelope, also where no route is met and where the fault is ours", async () => {
  const envelope = {
    error: { code: expect.any(String), message: expect.any(String), fix: expect.any(String), request_id: expect.any(String) },
  };
  const { schema } = gateway.database.db;
  const answers = [
    await gateway.call("GET", "/v1/sessions/s1", undefined, { authorization: "" }),
    await gateway.call("GET", "/nothing"),
    await gateway.call("PUT", "/v1/sessions/s1", {}),
    await gateway.call("POST", "/v1/sessions", { org_id: "x".repeat(1_100_000) }),
  ];
  await schema.alterTable("gateway_sessions").renameTo("put_away").execute();
  answers.push(await gateway.call("GET", "/v1/sessions/s1"));
  await schema.alterTable("put_away").renameTo("gateway_sessions").execute();

  expect(answers.map(({ status, body }) => [status, body])).toEqual([401, 404, 405, 413, 500].map((status) => [status, envelope]));
});

const badSessions: readonly (readonly [what: string, body: unknown, param: string | undefined])[] = [
  ["no org", {}, "org_id"],
  ["an id that could leave its path", { org_id: "org/../x" }, "org_id"],
  ["an unknown field, a typing error perhaps", { org_id: "org_a", max_budget: 1 }, undefined],
  ["a negative budget", { org_id: "org_a", max_budget_usd: "-1" }, "max_budget_usd"],
  ["a budget that is no number", { org_id: "org_a", max_budget_usd: "much" }, "max_budget_usd"],
  ["a budget finer than a double", { org_id: "org_a", max_budget_usd: "123456.0000000001" }, "max_budget_usd"],
  ["a duration that LiteLLM would misread", { org_id: "org_a", duration: "30min" }, "duration"],
  ["an empty allow list", { org_id: "org_a", models: [] }, "models"],
  ["the address of SSH as its repository", { org_id: "org_a", launcher: "local", repo: { url: "git@github.com:you/project" } }, "repo.url"],
  ["an option of git as its repository", { org_id: "org_a", launcher: "local", repo: { url: "--upload-pack=id" } }, "repo.url"],
  ["a repository of another protocol", { org_id: "org_a", launcher: "local", repo: { url: "ext::sh -c id" } }, "repo.url"],
  ["a repository whose URL has blanks", { org_id: "org_a", launcher: "local", repo: { url: "https://example.com/a b" } }, "repo.url"],
  ["a NUL in its metadata", { org_id: "org_a", metadata: { a: "x\0" } }, "metadata.a"],
  ["a NUL in a name of its metadata", { org_id: "org_a", metadata: { "a\0": 1 } }, "metadata"],
  ["half a surrogate pair in its metadata", { org_id: "org_a", metadata: { a: ["\ud800"] } }, "metadata.a.0"],
  ["a NUL in the name of its model", { org_id: "org_a", model: "claude\0" }, "model"],
  ["metadata of more than 16 KiB", { org_id: "org_a", metadata: { a: "x".repeat(16_384) } }, "metadata"],
  ["metadata that is no object", { org_id: "org_a", metadata: "x" }, "metadata"],
  ["an array", [], undefined],
];

test.each(badSessions)("a session with %s is refused by name and changes nothing", async (_what, body, param) => {
  const answer = await gateway.call("POST", "/v1/sessions", body);

  expect([answer.status, answer.body.error.code]).toEqual([400, "invalid_request"]);
  expect(answer.body.error.param).toBe(param);
  expect(await countSessions()).toBe(0);
  expect(gateway.proxy.requests).toEqual([]);
});

test("sessions F10: the address that everybody pastes is answered with the one that works", async () => {
  const { body } = await gateway.call("POST", "/v1/sessions", {
    org_id: "org_a",
    launcher: "local",
    repo: { url: "git@github.com:you/project.git" },
  });

  expect(body.error.message).toContain("https://github.com/you/project.git");
});

const nested = (depth: number): string => `{"org_id": "org_a", "metadata": {"a": ${"[".repeat(depth)}${"]".repeat(depth)}}}`;

test("sessions F10: metadata nested 20,000 deep is refused, and 20 deep taken", async () => {
  const [deep, flat] = [await gateway.call("POST", "/v1/sessions", nested(20_000)), await gateway.call("POST", "/v1/sessions", nested(20))];
  await gateway.call("DELETE", `/v1/sessions/${flat.body.session_id}`);
  await gateway.database.db.deleteFrom("gateway_sessions").execute();
  gateway.proxy.reset();

  expect([deep.status, deep.body.error.code, deep.body.error.param, flat.status]).toEqual([400, "invalid_request", "metadata", 201]);
});

test.each(["%00", "x%00", "%ff", "%ed%a0%80", "%zz"])(
  "hostile 16: %s in an id of a path, or in a query, is the caller's mistake on every route, whoever calls",
  async (text) => {
    const routes = (await gateway.call("GET", "/openapi.json")).body.paths as Readonly<Record<string, object>>;
    const calls = Object.entries(routes).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => [method.toUpperCase(), path] as const),
    );
    const answers = await Promise.all(
      calls.map(async ([method, path]) => {
        const address = path.includes("{") ? path.replaceAll(/\{\w+\}/g, text) : `${path}?cursor=${text}`;
        const { status, body } = await gateway.call(method, address, method === "GET" || method === "DELETE" ? undefined : {});
        return { method, path, status, code: body?.error?.code };
      }),
    );

    expect(calls.length).toBeGreaterThan(30);
    expect(answers.filter(({ status, code }) => status !== 400 || code !== "invalid_request")).toEqual([]);
  },
);

test("hostile 16: NUL in a session's id is refused before the right to it is looked up", async () => {
  const { body } = await gateway.call("POST", "/v1/tokens", { name: "bound", scopes: ["sessions:read"], org_id: "org_a" });
  const answer = await gateway.call("GET", "/v1/sessions/x%00", undefined, { authorization: `Bearer ${body.token}` });

  expect([body.token?.slice(0, 4), answer.status, answer.body.error.code]).toEqual(["gwt_", 400, "invalid_request"]);
});

test.each([
  ["broken JSON", '{"org_id": ', {}, 400, "invalid_json"],
  ["nothing", "", {}, 400, "invalid_request"],
  ["a form", "org_id=org_a", { "content-type": "application/x-www-form-urlencoded" }, 400, "invalid_request"],
  ["more than a megabyte", JSON.stringify({ org_id: "org_a", metadata: { text: "x".repeat(1_048_576) } }), {}, 413, "request_too_large"],
] as const)("a body of %s is refused and changes nothing", async (_what, body, headers, status, code) => {
  const answer = await gateway.call("POST", "/v1/sessions", body, headers);

  expect([answer.status, answer.body.error.code]).toEqual([status, code]);
  expect(await countSessions()).toBe(0);
});

test.each([
  ["/v1/sessions", "org_id"],
  ["/v1/sessions?org_id=org_a&limit=0", "limit"],
  ["/v1/sessions?org_id=org_a&cursor=guess", "cursor"],
  ["/v1/orgs/org_a/usage?from=yesterday", "from"],
  ["/v1/orgs/org_a/usage?from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "from"],
  ["/v1/orgs/org_a/ledger?cursor=guess", "cursor"],
  ["/v1/orgs/org_a/ledger?limit=100000", "limit"],
  ["/v1/orgs/-bad/ledger", "org_id"],
])("GET %s names the wrong parameter", async (path, param) => {
  const answer = await gateway.call("GET", path);

  expect([answer.status, answer.body.error.code, answer.body.error.param]).toEqual([400, "invalid_request", param]);
});

test("without its database the gateway answers that the store is unavailable, and is not ready", async () => {
  const db = openDatabase({ connectionString: "postgresql://app@127.0.0.1:1/app" });
  const blind = await serveGateway(db, {
    adminUrl: gateway.proxy.url,
    baseUrl: "https://llm.example.com/v1",
    masterKey: gateway.proxy.masterKey,
  });

  const answer = await blind.call("GET", "/v1/billing/status");
  const ready = await blind.call("GET", "/readyz");
  await blind.stop();
  await db.destroy();

  expect([answer.status, answer.body.error.code, answer.headers.get("retry-after")]).toEqual([503, "store_unavailable", "1"]);
  expect([ready.status, ready.body]).toMatchObject([
    503,
    {
      checks: [
        { name: "database", ok: false },
        { name: "llm_proxy", ok: true },
      ],
    },
  ]);
});

test("the gateway is ready when database and proxy answer, and says which does not", async () => {
  const ready = await gateway.call("GET", "/readyz", undefined, { authorization: "" });
  gateway.proxy.failNext("/health/readiness", ...Array.from({ length: 5 }, () => ({ kind: "reset" }) as const));
  const notReady = await gateway.call("GET", "/readyz", undefined, { authorization: "" });

  expect([ready.status, ready.body.status]).toEqual([200, "ready"]);
  expect([notReady.status, notReady.body.checks]).toMatchObject([
    503,
    [
      { name: "database", ok: true },
      { name: "llm_proxy", ok: false },
    ],
  ]);
});

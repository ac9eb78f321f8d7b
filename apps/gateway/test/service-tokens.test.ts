import { onServer } from "@proliferate/db/test-database";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Answer, startTestGateway, type TestGateway } from "./test-gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
  for (const org of ["a", "b"]) await gateway.call("POST", "/v1/sessions", { session_id: `s_${org}`, org_id: `org_${org}` });
});
afterAll(() => gateway.stop());

const make = async (body: object): Promise<{ readonly token: string; readonly token_id: string }> =>
  (await gateway.call("POST", "/v1/tokens", { name: "test", ...body }, { "x-request-id": "made-by-a-test" })).body;
const as = (token: string, method: string, path: string, body?: object): Promise<Answer> =>
  gateway.call(method, path, body, { authorization: `Bearer ${token}` });

test("a token is shown once, and the database holds its hash alone", async () => {
  const { token, token_id: tokenId } = await make({ scopes: ["sessions:read"] });
  const rows = JSON.stringify(await gateway.database.db.selectFrom("service_tokens").selectAll().execute());
  const shown = await gateway.call("GET", `/v1/tokens/${tokenId}`);

  expect(token).toMatch(/^gwt_[\w-]{43}$/);
  expect(rows).not.toContain(token);
  expect(shown.body).toMatchObject({ token_id: tokenId, audit: [{ action: "created", request_id: "made-by-a-test" }] });
  expect(JSON.stringify(shown.body)).not.toContain(token);
});

test.each([
  ["sessions:read", "GET", "/v1/sessions/s_a", undefined, 200],
  ["sessions:read", "GET", "/v1/sessions/s_a/cost", undefined, 200],
  ["sessions:read", "HEAD", "/v1/sessions/s_a", undefined, 200],
  ["sessions:write", "HEAD", "/v1/sessions/s_a", undefined, 403],
  ["billing:write", "HEAD", "/v1/billing/status", undefined, 403],
  ["sessions:read", "POST", "/v1/sessions", { org_id: "org_a" }, 403],
  ["sessions:read", "DELETE", "/v1/sessions/s_a", undefined, 403],
  ["sessions:write", "POST", "/v1/sessions", { org_id: "org_a" }, 201],
  ["sessions:write", "GET", "/v1/sessions/s_a", undefined, 403],
  ["sessions:write", "GET", "/v1/orgs/org_a/usage", undefined, 403],
  ["billing:read", "GET", "/v1/orgs/org_a/usage", undefined, 200],
  ["billing:read", "GET", "/v1/billing/status", undefined, 200],
  ["billing:read", "POST", "/v1/billing/rate-cards", { markup: "2" }, 403],
  ["billing:write", "GET", "/v1/tokens", undefined, 403],
  ["billing:write", "POST", "/v1/tokens", { name: "more", scopes: ["sessions:write"] }, 403],
  ["billing:read", "GET", "/metrics", undefined, 403],
] as const)("a token with %s alone that asks %s %s is answered as its scope says", async (scope, method, path, body, status) => {
  const { token } = await make({ scopes: [scope] });

  expect((await as(token, method, path, body)).status).toBe(status);
});

test("a token of one organization lists no other's sessions, whatever the method is called", async () => {
  const { token } = await make({ org_id: "org_a", scopes: ["sessions:read", "sessions:write"] });
  const statuses = async (orgId: string): Promise<readonly number[]> =>
    Promise.all(["GET", "HEAD"].map(async (method) => (await as(token, method, `/v1/sessions?org_id=${orgId}`)).status));

  expect([await statuses("org_a"), await statuses("org_b")]).toEqual([
    [200, 200],
    [403, 403],
  ]);
});

test("a token of one organization acts for it, and another's sessions are as if they did not exist", async () => {
  const { token } = await make({ org_id: "org_a", scopes: ["sessions:read", "sessions:write", "billing:read", "billing:write"] });
  const asked = [
    await as(token, "GET", "/v1/sessions/s_a"),
    await as(token, "GET", "/v1/sessions?org_id=org_a"),
    await as(token, "GET", "/v1/orgs/org_a/usage"),
    await as(token, "GET", "/v1/sessions/s_b"),
    await as(token, "GET", "/v1/sessions/s%5Fb"),
    await as(token, "GET", "/v1/sessions/s_b/events"),
    await as(token, "DELETE", "/v1/sessions/s_b"),
    await as(token, "GET", "/v1/sessions?org_id=org_b"),
    await as(token, "GET", "/v1/sessions?org_id=org_a&org_id=org_b"),
    await as(token, "POST", "/v1/sessions", { org_id: "org_b" }),
    await as(token, "GET", "/v1/orgs/org_b/ledger"),
    await as(token, "GET", "/v1/billing/status"),
    await as(token, "GET", "/v1/billing/export?format=csv"),
  ];

  expect(asked.map(({ status }) => status)).toEqual([200, 200, 200, 404, 404, 404, 404, 403, 400, 403, 403, 403, 403]);
  expect((await gateway.call("GET", "/v1/sessions/s_b")).body.state).toBe("active");
});

test("after a rotation the old token works for the overlap, and a revocation ends both at once", async () => {
  const first = await make({ scopes: ["sessions:read"] });
  const second = (await gateway.call("POST", `/v1/tokens/${first.token_id}/rotate`, { overlap_seconds: 3600 })).body;
  const overlapping = [await as(first.token, "GET", "/v1/sessions/s_a"), await as(second.token, "GET", "/v1/sessions/s_a")];
  await onServer(
    gateway.database.connectionString,
    "update llm_gateway.service_tokens set previous_valid_until = now() where previous_hash is not null",
  );
  const afterwards = await as(first.token, "GET", "/v1/sessions/s_a");
  await gateway.call("DELETE", `/v1/tokens/${first.token_id}`);
  const revoked = await as(second.token, "GET", "/v1/sessions/s_a");
  const { audit, last_used_at: lastUsedAt } = (await gateway.call("GET", `/v1/tokens/${first.token_id}`)).body;

  expect([...overlapping, afterwards, revoked].map(({ status }) => status)).toEqual([200, 200, 401, 401]);
  expect(audit.map(({ action }: { action: string }) => action)).toEqual(["created", "rotated", "revoked"]);
  expect(lastUsedAt).not.toBeNull();
});

test("an expired token is refused", async () => {
  const { token } = await make({ scopes: ["sessions:read"], expires_at: "2020-01-01T00:00:00Z" });

  expect((await as(token, "GET", "/v1/sessions/s_a")).status).toBe(401);
});

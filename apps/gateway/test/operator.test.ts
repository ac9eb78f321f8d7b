import { createTestDatabase, onServer, type TestDatabase } from "@proliferate/db/test-database";
import { createAutumnSink, parseSinkSettings } from "@proliferate/services/sinks";
import { settle } from "@proliferate/services/settlement";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { billOneRequest, reviewOneRequest } from "./billed-request.ts";
import { serveGateway, startTestGateway, type TestGateway } from "./test-gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
  await billOneRequest(gateway.database.db, "msg_1");
});
afterAll(() => gateway.stop());

const org = "/v1/billing/orgs/org_of_msg_1";
const run = (statement: string, database: TestDatabase = gateway.database): Promise<void> =>
  onServer(database.connectionString, `set search_path = llm_gateway; ${statement}`);

test("organizations are listed, shown, set, suspended and resumed, and each change is on record with its token and request", async () => {
  expect((await gateway.call("GET", "/v1/billing/orgs")).body).toMatchObject({
    orgs: [{ org_id: "org_of_msg_1", unposted_credits: "0" }],
    next_cursor: null,
  });
  const set = await gateway.call(
    "PATCH",
    org,
    { grace_ms: 60_000, max_sessions: 2, by: "ann", reason: "agreed by mail" },
    { "x-request-id": "made-by-a-test" },
  );
  expect(set).toMatchObject({ status: 200, body: { settings: { grace_ms: 60_000, max_sessions: 2, plan: "paid" } } });
  expect((await gateway.call("POST", `${org}/suspend`, { reason: "card stolen" })).body).toMatchObject({
    state: "suspended",
    suspended_reason: "card stolen",
  });
  expect((await gateway.call("POST", `${org}/resume`, {})).body).toMatchObject({ state: "unconfigured", suspended_reason: null });
  const { actions } = (await gateway.call("GET", "/v1/billing/actions?org_id=org_of_msg_1")).body;
  expect(actions.map((one: { action: string; operator: string }) => [one.action, one.operator])).toEqual([
    ["org.resumed", "root token"],
    ["org.suspended", "root token"],
    ["org.settings_changed", "ann"],
  ]);
  expect(actions[2]).toMatchObject({
    via: "gateway, root token, request made-by-a-test",
    reason: "agreed by mail",
    facts: { grace_ms: { before: 300_000, after: 60_000 } },
  });
});

test("an account mode is set, shown and on record, and refused by name while something is to be settled", async () => {
  await insertSpendRows(gateway.database.db, [{ orgId: "org_of_mode", spendUsd: "0.01" }]);
  await syncSpend(gateway.database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const refused = await gateway.call("PATCH", "/v1/billing/orgs/org_of_mode", { mode: "kept" });
  expect(refused).toMatchObject({
    status: 409,
    body: { error: { code: "account_mode_refused", message: expect.stringContaining("1 open events") } },
  });

  const kept = await gateway.call("PATCH", "/v1/billing/orgs/org_new_kept", { mode: "kept", create: true, by: "ann" });
  expect(kept).toMatchObject({ status: 200, body: { mode: "kept", kept_credits: "0", state: "active", payer_id: "org_new_kept" } });
  expect((await gateway.call("PATCH", "/v1/billing/orgs/org_new_kept", { mode: "sold" })).status).toBe(400);
  const { actions } = (await gateway.call("GET", "/v1/billing/actions?org_id=org_new_kept")).body;
  expect(actions).toMatchObject([
    { action: "org.settings_changed", operator: "ann", facts: { mode: { before: "settled", after: "kept" } } },
  ]);
});

const payer = (team: string): string => `/v1/billing/payers/${team}`;

test("a payer is set, listed and unset, each on record; chains, unknown payers and ids that are none are refused", async () => {
  expect(await gateway.call("PUT", payer("team_1"), { org_id: "org_nowhere" })).toMatchObject({
    status: 404,
    body: { error: { code: "org_not_found" } },
  });
  expect(await gateway.call("PUT", payer("team_1"), { org_id: "org_of_msg_1", by: "ann", reason: "one invoice" })).toMatchObject({
    status: 200,
    body: { team_id: "team_1", org_id: "org_of_msg_1", previous_org_id: "team_1" },
  });
  expect(await gateway.call("PUT", payer("team_2"), { org_id: "team_1", create: true })).toMatchObject({
    status: 409,
    body: { error: { code: "payer_refused" } },
  });
  expect((await gateway.call("PUT", payer("x".repeat(201)), { org_id: "org_of_msg_1" })).status).toBe(400);
  expect((await gateway.call("GET", "/v1/billing/payers?org_id=org_of_msg_1")).body).toMatchObject({
    payers: [{ team_id: "team_1", org_id: "org_of_msg_1" }],
    next_cursor: null,
  });
  expect((await gateway.call("DELETE", payer("team_1"))).body).toEqual({
    team_id: "team_1",
    org_id: "team_1",
    previous_org_id: "org_of_msg_1",
  });
  expect((await gateway.call("GET", "/v1/billing/payers")).body.payers).toEqual([]);
  expect((await gateway.call("GET", "/v1/billing/actions?subject=team_1")).body.actions).toMatchObject([
    { action: "team.payer_unset" },
    { action: "team.payer_set", operator: "ann", reason: "one invoice" },
  ]);
});

test("a policy is set, read and taken away", async () => {
  expect(
    await gateway.call("PUT", `${org}/top-up-policy`, { plan_id: "top_up", pack_credits: "500", max_packs_per_month: 2 }),
  ).toMatchObject({ status: 200, body: { enabled: true, threshold_credits: "0", max_packs_per_month: 2 } });
  expect((await gateway.call("GET", `${org}/top-up-policy`)).body).toMatchObject({ pack_credits: "500", breaker_until: null });
  expect((await gateway.call("POST", `${org}/top-up-policy/reset-breaker`, {})).body).toEqual({ org_id: "org_of_msg_1", reset: false });
  expect((await gateway.call("DELETE", `${org}/top-up-policy`)).body).toMatchObject({ removed: true });
  expect((await gateway.call("DELETE", `${org}/top-up-policy`)).body).toMatchObject({ removed: false });
});

test("a pack in needs_review is listed and settled once", async () => {
  const id = "22222222-2222-4222-8222-222222222222";
  await run(`insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, state, next_attempt_at, started_at)
    values ('${id}', 'org_of_msg_1', '2026-11', 1, 'tu:1', 'top_up', 500, 'needs_review', now(), now())`);
  expect((await gateway.call("GET", "/v1/billing/top-ups?state=needs_review")).body.top_ups).toMatchObject([
    { top_up_id: id, credits: "500" },
  ]);
  expect(await gateway.call("POST", `/v1/billing/top-ups/${id}/settle`, { bought: true, reason: "invoice 7" })).toMatchObject({
    status: 200,
    body: { settled: true, pack: { state: "paid" } },
  });
  expect(await gateway.call("POST", `/v1/billing/top-ups/${id}/settle`, { bought: false, reason: "no" })).toMatchObject({
    status: 409,
    body: { error: { code: "decision_refused" } },
  });
});

test("a batch that nobody else can tell about is decided, and one that decides itself is not", async () => {
  const open = await billOneRequest(gateway.database.db, "msg_2", { kind: "unknown", code: "timeout" });
  expect(await gateway.call("POST", `/v1/billing/batches/${open}/decide`, { delivered: true, reason: "seen" })).toMatchObject({
    status: 409,
    body: { error: { code: "decision_refused" } },
  });
  await run(`update settlement_batches set needs_reconcile = true where batch_id = '${open}'`);
  expect(await gateway.call("POST", `/v1/billing/batches/${open}/decide`, { delivered: true })).toMatchObject({
    status: 400,
    body: { error: { param: "reason" } },
  });
  expect(await gateway.call("POST", `/v1/billing/batches/${open}/decide`, { delivered: true, reason: "seen" })).toMatchObject({
    status: 200,
    body: { decided: true, state: "delivered" },
  });
  expect((await gateway.call("GET", `/v1/billing/explain/${open}`)).body.batches[0].by_hand).toMatchObject([
    { action: "batch.decided", operator: "root token", reason: "seen" },
  ]);
});

test("reviews are listed, a key's owner is named, a customer mapped, a month judged", async () => {
  await reviewOneRequest(gateway.database.db, "msg_3");
  const { reviews } = (await gateway.call("GET", "/v1/billing/reviews?reason=no_org")).body;
  expect(reviews).toMatchObject([{ review_key: "id:msg_3", spend_usd: "0.01" }]);
  expect((await gateway.call("POST", `/v1/billing/keys/${reviews[0].key_hash}/map`, { org_id: "org_of_msg_1" })).body).toMatchObject({
    billed_reviews: 1,
  });
  expect((await gateway.call("PUT", `${org}/customers/stripe`, { customer_id: "cus_A" })).body).toMatchObject({
    customer_id: "cus_A",
    previous_customer_id: null,
  });
  expect((await gateway.call("GET", "/v1/billing/customers")).body.customers).toEqual([
    { sink: "stripe", org_id: "org_of_msg_1", customer_id: "cus_A" },
  ]);
  expect((await gateway.call("POST", `/v1/billing/months/${new Date().toISOString().slice(0, 7)}/retire`, {})).body).toMatchObject({
    dry_run: true,
    retired: false,
    refusals: expect.arrayContaining(["it is not over"]),
  });
  expect(await gateway.call("POST", "/v1/billing/months/1999-01/retire", { dry_run: false })).toMatchObject({
    status: 409,
    body: { error: { code: "partition_not_retirable" } },
  });
});

test.each([
  ["GET", "/v1/orgs/org_none", undefined, 404, "org_not_found"],
  ["PATCH", "/v1/billing/orgs/org_none", { plan: "trial" }, 404, "org_not_found"],
  ["POST", "/v1/billing/orgs/org_none/suspend", { reason: "x" }, 404, "org_not_found"],
  ["PUT", "/v1/billing/orgs/org_none/top-up-policy", { plan_id: "p", pack_credits: "5" }, 404, "org_not_found"],
  ["PUT", "/v1/billing/orgs/org_none/customers/stripe", { customer_id: "cus_B" }, 404, "org_not_found"],
  ["POST", "/v1/billing/keys/hash/map", { org_id: "org_none" }, 404, "org_not_found"],
  ["PATCH", org, { overdraft_credits: "-1" }, 400, "invalid_request"],
  ["PATCH", org, { overdraft_credits: 5 }, 400, "invalid_request"],
  ["PATCH", org, { graceMs: 5 }, 400, "invalid_request"],
  ["PUT", `${org}/top-up-policy`, { plan_id: "p", pack_credits: "0" }, 400, "invalid_request"],
  ["PUT", `${org}/customers/autumn`, { customer_id: "cus_B" }, 400, "invalid_request"],
  ["PUT", `${org}/customers/stripe`, { customer_id: "someone" }, 400, "invalid_request"],
  ["POST", "/v1/billing/keys/sk-1234567890/map", { org_id: "org_of_msg_1" }, 400, "invalid_request"],
  ["POST", "/v1/billing/top-ups/none/settle", { bought: true, reason: "x" }, 404, "top_up_not_found"],
  ["POST", "/v1/billing/batches/none/decide", { delivered: true, reason: "x" }, 404, "billing_not_found"],
  ["POST", "/v1/billing/months/2026-13/retire", {}, 400, "invalid_request"],
  ["POST", "/v1/billing/reconcile", {}, 409, "sink_not_configured"],
] as const)("%s %s with %j is answered %i %s", async (method, path, body, status, code) => {
  const before = await gateway.database.db.selectFrom("operator_actions").select("action_id").execute();
  expect(await gateway.call(method, path, body)).toMatchObject({ status, body: { error: { code } } });
  expect(await gateway.database.db.selectFrom("operator_actions").select("action_id").execute()).toEqual(before);
});

test("a token that is bound to the org reads it, and changes nothing of its own limits", async () => {
  const { token } = (
    await gateway.call("POST", "/v1/tokens", { name: "its own", org_id: "org_of_msg_1", scopes: ["billing:read", "billing:write"] })
  ).body;
  const as = (method: string, path: string, body?: object) => gateway.call(method, path, body, { authorization: `Bearer ${token}` });
  expect((await as("GET", "/v1/orgs/org_of_msg_1")).status).toBe(200);
  expect((await as("GET", "/v1/orgs/org_of_msg_2")).status).toBe(403);
  expect((await as("GET", "/v1/billing/orgs")).status).toBe(403);
  expect((await as("PATCH", org, { max_sessions: null })).status).toBe(403);
  expect((await as("POST", `${org}/resume`, {})).status).toBe(403);
});

test("a token for billing of all orgs changes settings, and the record names it", async () => {
  const { token, token_id: tokenId } = (await gateway.call("POST", "/v1/tokens", { name: "back office", scopes: ["billing:write"] })).body;
  expect((await gateway.call("PATCH", org, { min_credits: "5" }, { authorization: `Bearer ${token}` })).status).toBe(200);
  expect((await gateway.call("GET", "/v1/billing/actions?limit=1")).body.actions).toMatchObject([
    { action: "org.settings_changed", operator: `service token ${tokenId}` },
  ]);
});

describe("with the sink's secret, the gateway", () => {
  const SECRET_KEY = "am_sk_test_gateway";
  let database: TestDatabase;
  let autumn: AutumnEmulator;
  let withSink: Awaited<ReturnType<typeof serveGateway>>;
  beforeEach(async () => {
    database = await createTestDatabase();
    autumn = await startAutumnEmulator({ secretKey: SECRET_KEY });
    autumn.grant("org_a", "100");
    const sink = createAutumnSink({
      secretKey: SECRET_KEY,
      serverUrl: autumn.url,
      apiVersion: "2.3.0",
      featureId: "credits",
      client: "http",
    });
    await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.1" }]);
    await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
    // Taken, but answered with an error, and the key was not kept: the repeat is taken, too.
    autumn.failNext({ kind: "status_after_apply", status: 500 });
    for (let count = 0; count < 2; count++) await settle(database.db, { sink, retryDelayMs: () => 0 });
    await run("update settlement_attempts set started_at = now() - interval '1 hour', finished_at = now() - interval '1 hour'", database);
    const sinks = parseSinkSettings({ AUTUMN_API_KEY: SECRET_KEY, AUTUMN_API_URL: autumn.url, AUTUMN_CLIENT: "http" });
    withSink = await serveGateway(
      database.db,
      { adminUrl: "http://127.0.0.1:1", baseUrl: "https://llm.example.com/v1", masterKey: "sk-of-no-proxy" },
      undefined,
      undefined,
      { sinks, markup: "3" },
    );
  });
  afterEach(async () => {
    await withSink.stop();
    await autumn.stop();
    await database.drop();
  });

  test("compares deliveries and balances, names a double charge, and changes nothing unless it is told to", async () => {
    const before = await database.db.selectFrom("org_gates").selectAll().execute();
    const dry = await withSink.call("POST", "/v1/billing/reconcile", { org_id: "org_a" });
    expect(dry).toMatchObject({
      status: 200,
      body: {
        dry_run: true,
        deliveries: { compared_batches: 1, findings: [{ kind: "double_charge", correction_credits: "-30", correction: null }] },
        balances: [{ org_id: "org_a", outcome: "reconciled", after_credits: "40", cause: "first_sight" }],
      },
    });
    expect(await database.db.selectFrom("org_gates").selectAll().execute()).toEqual(before);
    expect(await database.db.selectFrom("delivery_findings").selectAll().execute()).toEqual([]);
    expect((await withSink.call("POST", "/v1/billing/reconcile", { dry_run: true, apply_corrections: true })).status).toBe(400);

    const applied = await withSink.call("POST", "/v1/billing/reconcile", { dry_run: false, apply_corrections: true });
    await withSink.call("POST", "/v1/billing/reconcile", { dry_run: false, apply_corrections: true });
    expect(applied.body.deliveries.findings).toMatchObject([{ kind: "double_charge", correction: "applied" }]);
    expect(autumn.deducted("org_a")).toBe("30");
    expect((await withSink.call("POST", "/v1/billing/reconcile", { org_id: "org_none" })).body.error.code).toBe("org_not_found");
  });
});

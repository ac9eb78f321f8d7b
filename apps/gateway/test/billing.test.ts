import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { afterAll, beforeAll, expect, test } from "vitest";
import { billOneRequest, reviewOneRequest } from "./billed-request.ts";
import { METRICS_TOKEN, startTestGateway, type TestGateway } from "./test-gateway.ts";

let gateway: TestGateway;
let deliveredBatch: string;
let parkedBatch: string;
let partBatch: string;
beforeAll(async () => {
  gateway = await startTestGateway();
  const { db } = gateway.database;
  deliveredBatch = await billOneRequest(db, "msg_1");
  parkedBatch = await billOneRequest(db, "msg_2", { kind: "parked", status: 404, code: "customer_not_found" });
  partBatch = await billOneRequest(db, "msg_3", { kind: "unapplied", status: 200, code: "shortfall", deductedCredits: "1" });
});
afterAll(() => gateway.stop());

test("status compares source and ledger and names what a person must look at", async () => {
  const { status, body } = await gateway.call("GET", "/v1/billing/status");

  expect(status).toBe(200);
  expect(body.completeness).toMatchObject({
    source_rows: 3,
    source_usd: "0.03",
    billed_usd: "0.03",
    unbilled_usd: "0",
    difference_usd: "0",
  });
  expect(body.problems.map((problem: { code: string }) => problem.code)).toEqual(["unapplied", "parked"]);
});

test("status can be narrowed by time, and refuses a time that is none", async () => {
  expect((await gateway.call("GET", "/v1/billing/status?from=2100-01-01T00:00:00Z")).body.completeness).toMatchObject({
    from: "2100-01-01T00:00:00.000Z",
    source_rows: 0,
  });
  expect(await gateway.call("GET", "/v1/billing/status?from=2026-02-30T00:00:00Z")).toMatchObject({
    status: 400,
    body: { error: { code: "invalid_request", param: "from" } },
  });
});

test("explain answers by request, batch and key", async () => {
  const byRequest = await gateway.call("GET", "/v1/billing/explain/msg_1");
  const byKey = await gateway.call("GET", `/v1/billing/explain/${encodeURIComponent(`pb:${deliveredBatch}`)}`);

  expect(byRequest.body).toMatchObject({
    kind: "request",
    source: { request_id: "msg_1" },
    events: [{ arithmetic: { text: "0.01 USD x 3 x 100 = 3 credits", holds: true } }],
    batches: [{ batch_id: deliveredBatch, state: "delivered", attempts: [{ status: 200 }] }],
  });
  expect(byKey.body).toMatchObject({ kind: "batch", batches: [{ batch_id: deliveredBatch }] });
  expect(await gateway.call("GET", "/v1/billing/explain/msg_none")).toMatchObject({
    status: 404,
    body: { error: { code: "billing_not_found" } },
  });
});

test("redrive makes a parked batch due again, once, and refuses one that was deducted in part", async () => {
  expect(await gateway.call("POST", `/v1/billing/batches/${parkedBatch}/redrive`)).toMatchObject({
    status: 200,
    body: { redriven: true, state: "sealed" },
  });
  expect(await gateway.call("POST", `/v1/billing/batches/${parkedBatch}/redrive`)).toMatchObject({
    status: 200,
    body: { redriven: false },
  });
  expect(await gateway.call("POST", `/v1/billing/batches/${partBatch}/redrive`)).toMatchObject({
    status: 409,
    body: { error: { code: "redrive_refused" } },
  });
  expect(await gateway.call("POST", "/v1/billing/batches/none/redrive")).toMatchObject({
    status: 404,
    body: { error: { code: "billing_not_found" } },
  });
});

test("export streams CSV or lines of JSON, and refuses an empty range before it begins", async () => {
  const csv = await gateway.call("GET", "/v1/billing/export");
  const json = await gateway.call("GET", "/v1/billing/export?format=json&org_id=org_of_msg_1");

  expect(csv.headers.get("content-type")).toMatch(/^text\/csv/);
  expect(csv.body.split("\r\n")).toHaveLength(5);
  expect(JSON.parse(json.body)).toMatchObject({ request_id: "msg_1", credits: "3", batch_id: deliveredBatch });
  expect(await gateway.call("GET", "/v1/billing/export?from=2026-02-02T00:00:00Z&to=2026-02-01T00:00:00Z")).toMatchObject({
    status: 400,
    body: { error: { code: "invalid_request" } },
  });
});

test("a reader that leaves in the middle of an export holds no connection of the database", async () => {
  const answer = await gateway.app.request("/v1/billing/export", { headers: { authorization: "Bearer test-token-0123456789" } });
  await answer.body?.cancel();

  // More than the pool has connections; each would wait for ever if the first ones were not given back.
  for (let count = 0; count < 15; count++) expect((await gateway.call("GET", "/v1/billing/export?format=json")).status).toBe(200);
});

test("hostile 13: METRICS_TOKEN opens the metrics and nothing else", async () => {
  const asPrometheus = { authorization: `Bearer ${METRICS_TOKEN}` };

  expect(await gateway.call("GET", "/metrics", undefined, asPrometheus)).toMatchObject({ status: 200 });
  expect(await gateway.call("GET", "/metrics", undefined, { authorization: `Bearer ${METRICS_TOKEN}x` })).toMatchObject({ status: 401 });
  expect(await gateway.call("GET", "/v1/billing/status", undefined, asPrometheus)).toMatchObject({ status: 401 });
});

test("metrics need the token and have every state", async () => {
  expect(await gateway.call("GET", "/metrics", undefined, { authorization: "" })).toMatchObject({ status: 401 });
  const { status, headers, body } = await gateway.call("GET", "/metrics");

  expect({ status, type: headers.get("content-type") }).toEqual({ status: 200, type: expect.stringMatching(/^text\/plain; version=/) });
  expect(body).toContain('llm_gateway_billing_batches{state="unapplied"} 1');
});

test("a row in review is billed to the org that the call names, once, or dismissed", async () => {
  const { db } = gateway.database;
  await reviewOneRequest(db, "msg_4");
  await reviewOneRequest(db, "msg_5");

  expect(await gateway.call("POST", "/v1/billing/reviews/msg_4/redrive", {})).toMatchObject({
    status: 400,
    body: { error: { param: "org_id" } },
  });
  expect(await gateway.call("POST", "/v1/billing/reviews/id:msg_4/redrive", { org_id: "org_a", create: true })).toMatchObject({
    status: 200,
    body: { redriven: true, state: "billed" },
  });
  expect(await gateway.call("POST", "/v1/billing/reviews/msg_4/redrive", { org_id: "org_b" })).toMatchObject({
    status: 200,
    body: { redriven: false, org_id: "org_a" },
  });
  expect(await gateway.call("POST", "/v1/billing/reviews/msg_5/dismiss")).toMatchObject({ status: 200, body: { state: "dismissed" } });
  expect((await gateway.call("GET", "/v1/billing/explain/msg_4")).body).toMatchObject({
    reviews: [{ resolution: "billed" }],
    events: [{ org_id: "org_a", credits: "3" }],
  });
});

test("rate cards are added and listed; a negative rate and an overlap are refused and change nothing", async () => {
  const add = (body: object) => gateway.call("POST", "/v1/billing/rate-cards", body);
  expect(await add({ org_id: "org_x", markup: "2.5", valid_from: "2026-01-01T00:00:00Z", valid_to: "2026-07-01T00:00:00Z" })).toMatchObject(
    { status: 201, body: { org_id: "org_x", markup: "2.5", credits_per_usd: "100" } },
  );
  const before = await gateway.call("GET", "/v1/billing/rate-cards?org_id=org_x");

  expect(await add({ org_id: "org_x", markup: "3", valid_from: "2026-06-01T00:00:00Z" })).toMatchObject({
    status: 409,
    body: { error: { code: "rate_card_overlap" } },
  });
  expect(await add({ org_id: "org_x", markup: "-3", valid_from: "2027-01-01T00:00:00Z" })).toMatchObject({
    status: 400,
    body: { error: { param: "markup" } },
  });
  expect(await add({ org_id: "org_x", markup: "0", valid_from: "2027-01-01T00:00:00Z" })).toMatchObject({
    status: 400,
    body: { error: { code: "rate_card_invalid" } },
  });
  expect(await add({ org_id: "org_x", markup: "3", valid_from: "2027-02-01T00:00:00Z", valid_to: "2027-01-01T00:00:00Z" })).toMatchObject({
    status: 400,
    body: { error: { code: "rate_card_invalid" } },
  });
  expect((await gateway.call("GET", "/v1/billing/rate-cards?org_id=org_x")).body).toEqual(before.body);
  expect(before.body.rate_cards.map((card: { org_id: string | null }) => card.org_id)).toEqual([null, "org_x"]);
});

test("an audit finds a planted missing row, and bills it when it is told to", async () => {
  await insertSpendRows(gateway.database.db, [{ requestId: "msg_missed", orgId: "org_a", spendUsd: "0.07" }]);
  const range = { from: "2020-01-01T00:00:00Z", to: "2100-01-01T00:00:00Z" };

  expect(await gateway.call("POST", "/v1/billing/audit", range)).toMatchObject({
    status: 200,
    body: { missing_rows: 1, missing_usd: "0.07", healed_rows: 0, gaps: [{ org_id: "org_a", not_ingested: 1, examples: ["msg_missed"] }] },
  });
  expect((await gateway.call("POST", "/v1/billing/audit", { ...range, heal: true })).body).toMatchObject({
    missing_rows: 1,
    healed_rows: 1,
  });
  expect((await gateway.call("POST", "/v1/billing/audit", range)).body).toMatchObject({ missing_rows: 0, gaps: [] });
  expect(await gateway.call("POST", "/v1/billing/audit", { from: range.to, to: range.from })).toMatchObject({
    status: 400,
    body: { error: { code: "invalid_request" } },
  });
});

test("a reconciliation is asked of the worker, for an org that there is", async () => {
  expect(await gateway.call("POST", "/v1/billing/orgs/org_of_msg_1/reconcile")).toMatchObject({
    status: 202,
    body: { org_id: "org_of_msg_1", requested: true },
  });
  expect(await gateway.call("POST", "/v1/billing/orgs/org_none/reconcile")).toMatchObject({
    status: 404,
    body: { error: { code: "org_not_found" } },
  });
  expect(await gateway.database.db.selectFrom("org_gates").select("org_id").where("reconcile_wanted_at", "is not", null).execute()).toEqual(
    [{ org_id: "org_of_msg_1" }],
  );
});

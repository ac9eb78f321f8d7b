import { syncSpend } from "@proliferate/services/billing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestGateway, type TestGateway } from "./test-gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
  await event({
    requestId: "r1",
    orgId: "org_a",
    sessionId: "s1",
    model: "claude-sonnet-4-5",
    spendUsd: "0.1",
    occurredAt: "2026-11-01T10:00:00Z",
  });
  await event({
    requestId: "r2",
    orgId: "org_a",
    sessionId: "s2",
    model: "claude-opus-4-5",
    spendUsd: "0.2",
    occurredAt: "2026-11-02T10:00:00Z",
  });
  await event({
    requestId: "r3",
    orgId: "org_b",
    sessionId: "s3",
    model: "claude-opus-4-5",
    spendUsd: "7",
    occurredAt: "2026-11-02T10:00:00Z",
  });
});
afterAll(() => gateway.stop());

interface EventOptions {
  readonly requestId: string;
  readonly orgId: string;
  readonly sessionId: string;
  readonly model: string;
  readonly spendUsd: string;
  readonly occurredAt: string;
}

/** A spend row that is on the ledger. */
async function event(options: EventOptions): Promise<void> {
  await gateway.database.db
    .insertInto("LiteLLM_SpendLogs")
    .values({
      request_id: options.requestId,
      call_type: "anthropic_messages",
      team_id: options.orgId,
      user: options.sessionId,
      model: options.model,
      prompt_tokens: 10,
      completion_tokens: 5,
      spend: options.spendUsd,
      startTime: options.occurredAt,
      endTime: options.occurredAt,
    } as never)
    .execute();
  await syncSpend(gateway.database.db, { rate: { markup: "3", creditsPerUsd: "100" }, fullSweep: true });
}

test("usage adds up one org exactly, in total, by model and by session", async () => {
  const { status, body } = await gateway.call("GET", "/v1/orgs/org_a/usage");

  expect(status).toBe(200);
  expect(body.totals).toEqual({ requests: 2, prompt_tokens: 20, completion_tokens: 10, spend_usd: "0.3", credits: "90" });
  expect(body.by_model.map((row: { model: string; credits: string }) => [row.model, row.credits])).toEqual([
    ["claude-opus-4-5", "60"],
    ["claude-sonnet-4-5", "30"],
  ]);
  expect(body.by_session.map((row: { session_id: string }) => row.session_id)).toEqual(["s2", "s1"]);
});

test("usage counts from its beginning and up to its end", async () => {
  const { body } = await gateway.call("GET", "/v1/orgs/org_a/usage?from=2026-11-01T11:00:00%2B01:00&to=2026-11-02T10:00:00Z");

  expect(body).toMatchObject({ from: "2026-11-01T10:00:00.000Z", totals: { requests: 1, spend_usd: "0.1" } });
});

test("an org that never spent has zeros and an empty ledger", async () => {
  const usage = await gateway.call("GET", "/v1/orgs/org_none/usage");
  const ledger = await gateway.call("GET", "/v1/orgs/org_none/ledger");

  expect(usage.body.totals).toEqual({ requests: 0, prompt_tokens: 0, completion_tokens: 0, spend_usd: "0", credits: "0" });
  expect(ledger.body).toEqual({ org_id: "org_none", batches: [], events: [], next_cursor: null });
});

test("the ledger shows an org's events newest first, page by page", async () => {
  const first = await gateway.call("GET", "/v1/orgs/org_a/ledger?limit=1");
  const second = await gateway.call("GET", `/v1/orgs/org_a/ledger?limit=1&cursor=${first.body.next_cursor}`);

  const [newest] = first.body.events;
  expect(newest).toMatchObject({ request_id: "r2", spend_usd: "0.2", markup: "3", credits_per_usd: "100", credits: "60", batch_id: null });
  expect(second.body.events.map((row: { request_id: string }) => row.request_id)).toEqual(["r1"]);
});

test("the billing status counts what is not settled yet", async () => {
  const { body } = await gateway.call("GET", "/v1/billing/status");

  expect(body).toMatchObject({
    open_events: 3,
    open_credits: "2190",
    carry_credits: "0",
    needs_reconcile: 0,
    batches: { delivered: { batches: 0, credits: "0" } },
  });
});

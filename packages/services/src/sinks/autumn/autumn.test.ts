import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAutumnSink } from "./autumn.ts";
import type { Delivery, SettlementSink } from "../port/sink.ts";

interface Received {
  readonly path: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: Record<string, unknown>;
}

/** Answers as told: what is under test here are the two clients and what is made of an answer, not Autumn. */
let client: "autumn-js" | "http";
let server: Server;
let received: Received[];
let answer: (response: ServerResponse, body: Record<string, unknown>) => void;

beforeAll(async () => {
  server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    request.on("end", () => {
      const body = JSON.parse(text) as Record<string, unknown>;
      received.push({ path: request.url, headers: request.headers, body });
      answer(response, body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  received = [];
  answer = json(200, (body) => trackAnswer(body, [body["value"] as number]));
});

const json =
  (status: number, make: (body: Record<string, unknown>) => unknown, headers: Record<string, string> = {}) =>
  (response: ServerResponse, body: Record<string, unknown>): void =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(make(body)));

const refused = (status: number, code: string, headers: Record<string, string> = {}) =>
  json(status, () => ({ message: "no am_sk_test_1", code, env: "sandbox" }), headers);

const trackAnswer = (body: Record<string, unknown>, deducted: readonly number[], remaining: number | null = 970) => ({
  customer_id: body["customer_id"],
  value: body["value"],
  balance:
    remaining === null
      ? null
      : {
          feature_id: "credits",
          granted: 1000,
          remaining,
          usage: 30,
          unlimited: false,
          overage_allowed: false,
          max_purchase: null,
          next_reset_at: null,
        },
  deductions: deducted.map((value, index) => ({
    balance_id: `cus_ent_${index}`,
    feature_id: "credits",
    plan_id: null,
    reset: null,
    value,
  })),
});

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const newSink = (overrides: Partial<Parameters<typeof createAutumnSink>[0]> = {}): SettlementSink =>
  createAutumnSink({
    secretKey: "am_sk_test_1",
    serverUrl: url(),
    apiVersion: "2.3.0",
    featureId: "credits",
    timeoutMs: 2_000,
    client,
    ...overrides,
  });
const delivery = (overrides: Partial<Delivery> = {}): Delivery => ({
  batchId: "0545ccd4-753d-8cbd-8f27-54891f82e6b6",
  orgId: "acme.io",
  idempotencyKey: "pb:0545ccd4-753d-8cbd-8f27-54891f82e6b6",
  credits: "30.0000000001",
  eventCount: 4,
  ...overrides,
});

describe.each(["http", "autumn-js"] as const)("through %s", (name) => {
  beforeAll(() => {
    client = name;
  });

  describe("what is sent", () => {
    it("is one track call with the key as header, the exact value, overflow, and the batch in its properties", async () => {
      await newSink().deliver(delivery());

      expect(received).toHaveLength(1);
      expect(received[0]?.path).toBe("/v1/balances.track");
      expect(received[0]?.headers).toMatchObject({
        "authorization": "Bearer am_sk_test_1",
        "idempotency-key": "pb:0545ccd4-753d-8cbd-8f27-54891f82e6b6",
        "x-api-version": "2.3.0",
      });
      expect(received[0]?.body).toEqual({
        customer_id: "enc:acme_2Eio",
        feature_id: "credits",
        value: 30.0000000001,
        overage_behavior: "overflow",
        properties: { batch_id: "0545ccd4-753d-8cbd-8f27-54891f82e6b6", event_count: 4, source: "llm-gateway" },
      });
    });

    it("goes to the right place when key and URL were pasted carelessly", async () => {
      await newSink({ secretKey: "Bearer am_sk_test_1 # test", serverUrl: `${url()}/v1/` }).deliver(delivery());

      expect(received[0]).toMatchObject({ path: "/v1/balances.track", headers: { authorization: "Bearer am_sk_test_1" } });
    });
  });

  it("refuses an amount that a JSON number would change, before it is sent", async () => {
    expect(await newSink().deliver(delivery({ credits: "12345678901.12345678" }))).toMatchObject({
      kind: "dead",
      code: "not_representable",
    });
    expect(received).toHaveLength(0);
  });

  describe("an answer of 200", () => {
    it("that deducted exactly what was asked is delivered, with the balance that is left", async () => {
      expect(await newSink().deliver(delivery())).toEqual({
        kind: "delivered",
        status: 200,
        deductedCredits: "30.0000000001",
        balanceAfter: "970",
      });
    });

    it("is summed exactly over several balances, without the noise of binary sums", async () => {
      answer = json(200, (body) => trackAnswer(body, [0.1, 0.2, 30.0000000001 - 0.1 - 0.2]));

      expect(await newSink().deliver(delivery())).toMatchObject({ kind: "delivered", deductedCredits: "30.0000000001" });
    });

    it.each([
      ["nothing, as for a customer without a balance", [], null, { code: "no_balance", deductedCredits: "0" }],
      ["more", [31], 969, { code: "over_deducted", deductedCredits: "31" }],
    ])("that deducted %s is not delivered", async (_, deducted, remaining, expected) => {
      answer = json(200, (body) => trackAnswer(body, deducted as number[], remaining as number | null));

      expect(await newSink().deliver(delivery())).toMatchObject({ kind: "unapplied", status: 200, ...(expected as object) });
    });

    it("pitfall 11, cap shortfall: that deducted less is a shortfall with its amount", async () => {
      answer = json(200, (body) => trackAnswer(body, [12], 0));

      expect(await newSink({ overage: "cap" }).deliver(delivery())).toMatchObject({
        kind: "shortfall",
        status: 200,
        deductedCredits: "12",
      });
      expect(received[0]?.body).toMatchObject({ overage_behavior: "cap" });
    });

    it.each([
      ["a part", [12], "12"],
      ["nothing", [], "0"],
    ])("money 9: that deducted %s although it may go below the balance met a limit that somebody set", async (_, deducted, credits) => {
      answer = json(200, (body) => trackAnswer(body, deducted as number[], 500));

      const outcome = await newSink({ overage: "overflow" }).deliver(delivery());

      expect(outcome).toMatchObject({ kind: "shortfall", code: "spend_limit", status: 200, deductedCredits: credits, balanceAfter: "500" });
      expect(received[0]?.body).toMatchObject({ overage_behavior: "overflow" });
    });

    it("for another customer is not believed", async () => {
      answer = json(200, (body) => ({ ...trackAnswer(body, [30]), customer_id: "" }));

      expect(await newSink().deliver(delivery())).toMatchObject({ kind: "unknown", code: "wrong_customer" });
    });

    it("that cannot be read may have been applied", async () => {
      answer = json(200, () => ({ ok: true }));

      expect(await newSink().deliver(delivery())).toMatchObject({ kind: "unknown", status: 200, code: "unreadable_answer" });
    });
  });

  describe("any other answer", () => {
    it.each([
      [202, "queued", { kind: "accepted" }],
      [400, "invalid_inputs", { kind: "dead", code: "invalid_inputs" }],
      [400, "invalid_api_version", { kind: "parked", code: "invalid_api_version" }],
      [400, "usage_limit_exceeded", { kind: "parked" }],
      [401, "invalid_secret_key", { kind: "parked", code: "invalid_secret_key" }],
      [403, "forbidden", { kind: "parked", code: "forbidden" }],
      [404, "customer_not_found", { kind: "parked", code: "customer_not_found" }],
      [404, "feature_not_found", { kind: "parked", code: "feature_not_found" }],
      [409, "duplicate_idempotency_key", { kind: "duplicate" }],
      [409, "lock_already_exists", { kind: "unavailable" }],
      [429, "rate_limit_exceeded", { kind: "unavailable" }],
      [500, "internal_error", { kind: "unknown" }],
      [503, "unavailable", { kind: "unknown" }],
    ])("%i %s", async (status, code, expected) => {
      answer = status === 202 ? json(202, (body) => trackAnswer(body, [], null)) : refused(status, code);

      const outcome = await newSink().deliver(delivery());

      expect(outcome).toMatchObject({ status, ...expected });
      expect(JSON.stringify(outcome)).not.toContain("am_sk");
      expect(received).toHaveLength(1);
    });

    it("keeps to Retry-After, in seconds or as a date", async () => {
      answer = refused(429, "rate_limit_exceeded", { "retry-after": "7" });
      expect(await newSink().deliver(delivery())).toMatchObject({ retryAfterMs: 7_000 });

      const until = new Date(Date.now() + 60_000).toUTCString();
      answer = refused(503, "unavailable", { "retry-after": until });
      const outcome = (await newSink().deliver(delivery())) as { retryAfterMs: number };
      expect(outcome.retryAfterMs).toBeGreaterThanOrEqual(Date.parse(until) - Date.now());
      expect(outcome.retryAfterMs).toBeLessThanOrEqual(60_000);
    });

    it("that is no answer of Autumn's, such as a proxy's page, is told by its status", async () => {
      answer = (response) => void response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");

      expect(await newSink().deliver(delivery())).toMatchObject({ kind: "unknown", status: 502, code: "http_502" });
    });
  });

  describe("pitfall 06 fail-open SDK: no answer", () => {
    it("within the time-out may have been applied", async () => {
      answer = () => undefined;

      expect(await newSink({ timeoutMs: 200 }).deliver(delivery())).toMatchObject({ kind: "unknown", code: "timeout" });
    });

    it("because the connection broke may have been applied", async () => {
      answer = (response) => void response.socket?.destroy();

      expect(await newSink().deliver(delivery())).toMatchObject({ kind: "unknown" });
    });

    it("because nobody listens was certainly not applied", async () => {
      const closed = createServer().listen(0, "127.0.0.1");
      await once(closed, "listening");
      const { port } = closed.address() as AddressInfo;
      closed.close();
      await once(closed, "close");

      expect(await newSink({ serverUrl: `http://127.0.0.1:${port}` }).deliver(delivery())).toMatchObject({
        kind: "unavailable",
        code: "econnrefused",
      });
    });
  });

  it("tells a queued answer from an applied one although several calls are in flight", async () => {
    answer = (response, body) => {
      const queued = body["value"] === 1;
      json(queued ? 202 : 200, (asked) => trackAnswer(asked, queued ? [] : [asked["value"] as number]))(response, body);
    };
    const sink = newSink();

    const outcomes = await Promise.all(
      ["1", "2", "1", "3"].map((credits, index) => sink.deliver(delivery({ credits, idempotencyKey: `pb:${index}` }))),
    );

    expect(outcomes.map((outcome) => outcome.kind)).toEqual(["accepted", "delivered", "accepted", "delivered"]);
  });
});

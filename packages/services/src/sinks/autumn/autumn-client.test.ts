import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { AutumnClient, AutumnEventPage } from "./autumn-client.ts";
import { openAutumnHttp } from "./autumn-http.ts";
import { createAutumnLedger } from "./autumn-ledger.ts";
import { openAutumnSdk } from "./autumn-sdk.ts";

/** The library is the measure: whatever it sends and reads, the plain client sends and reads. */
const balance = {
  feature_id: "credits",
  granted: 100,
  remaining: 70.5,
  usage: 29.5,
  unlimited: false,
  overage_allowed: false,
  max_purchase: null,
  next_reset_at: 1_800_000_000_000,
};
const SUBSCRIPTION = {
  id: "sub_1",
  plan_id: "pro",
  auto_enable: false,
  add_on: false,
  status: "active",
  past_due: false,
  canceled_at: null,
  expires_at: null,
  trial_ends_at: 1_800_000_000_000,
  started_at: 1,
  current_period_start: null,
  current_period_end: null,
  quantity: 1,
};
const ANSWERS: Readonly<Record<string, unknown>> = {
  "/v1/features.list": {
    list: [
      {
        id: "credits",
        name: "Credits",
        type: "credit_system",
        consumable: true,
        archived: false,
        credit_schema: [{ metered_feature_id: "tokens", credit_cost: 2.5 }],
      },
      { id: "seats", name: "Seats", type: "metered", consumable: false, archived: true },
    ],
  },
  "/v1/balances.track": {
    customer_id: "org_a",
    value: 1.5,
    balance,
    deductions: [{ balance_id: "b", feature_id: "credits", plan_id: null, reset: null, value: 1.5 }],
  },
  "/v1/customers.get": {
    id: "org_a",
    name: null,
    email: null,
    created_at: 1,
    fingerprint: null,
    stripe_id: null,
    env: "sandbox",
    metadata: {},
    send_email_receipts: false,
    billing_controls: { auto_topups: [{ feature_id: "credits", enabled: true, threshold: 10, quantity: 100 }] },
    subscriptions: [SUBSCRIPTION],
    purchases: [],
    licenses: [],
    balances: { credits: balance },
    flags: {},
  },
  "/v1/events.list": {
    list: [
      {
        id: "evt_1",
        timestamp: 1_800_000_000_000,
        feature_id: "credits",
        customer_id: "org_a",
        value: 3,
        properties: { batch_id: "b1" },
        deductions: [{ balance_id: "b", feature_id: "credits", plan_id: null, reset: null, value: 2 }],
      },
    ],
    next_cursor: null,
  },
};

const server = createServer((request, response) => {
  let text = "";
  request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  request.on("end", () => {
    const { authorization, accept, "content-type": contentType, "x-api-version": version, "idempotency-key": key } = request.headers;
    received.push({
      method: request.method,
      path: request.url,
      headers: { authorization, accept, contentType, version, key },
      body: text === "" ? null : JSON.parse(text),
    });
    const answer = ANSWERS[request.url ?? ""] ?? {};
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
});
let received: unknown[] = [];
let plain: AutumnClient;
let library: AutumnClient;
beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const connection = {
    secretKey: "am_sk_test_1",
    serverUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    apiVersion: "2.3.0",
  };
  plain = openAutumnHttp(connection);
  library = await openAutumnSdk(connection);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  received = [];
});

const KEY = { headers: { "Idempotency-Key": "pb:1" } };
const CALLS: readonly (readonly [string, (client: AutumnClient) => Promise<unknown>])[] = [
  [
    "track",
    (client) =>
      client.track(
        { customerId: "org_a", featureId: "credits", value: 1.5, overageBehavior: "cap", properties: { batch_id: "b1", event_count: 2 } },
        KEY,
      ),
  ],
  ["customers.get", (client) => client.customers.get({ customerId: "org_a" })],
  ["customers.getOrCreate", (client) => client.customers.getOrCreate({ customerId: "org_a" })],
  ["events.list", (client) => client.events.list({ customerId: "org_a", featureId: "credits", startCursor: "", limit: 10 })],
  ["features.list", (client) => client.features.list()],
  [
    "billing.attach",
    (client) =>
      client.billing.attach(
        { customerId: "org_a", planId: "pack", featureQuantities: [{ featureId: "credits", quantity: 500 }], redirectMode: "never" },
        KEY,
      ),
  ],
];

describe("the plain client", () => {
  it.each(CALLS)("sends what autumn-js sends: %s", async (_, call) => {
    await call(library).catch(() => undefined);
    await call(plain).catch(() => undefined);

    expect(received).toHaveLength(2);
    expect(received[1]).toEqual(received[0]);
  });

  it.each(CALLS.filter(([name]) => name === "track" || name === "customers.get" || name === "events.list" || name === "features.list"))(
    "reads what autumn-js reads: %s",
    async (_, call) => {
      const [ofPlain, ofLibrary] = [await call(plain), await call(library)];

      expect(ofLibrary).toMatchObject(withoutStatus(ofPlain));
    },
  );
});

/** Only `track` tells its status through the library. */
function withoutStatus(answer: unknown): object {
  const { status: _, ...rest } = answer as { status?: number };
  return rest;
}

/** The n-th of seven pages: one event of ours, one of somebody else's, each page 100 ms older. */
function eventPage(cursor: string): AutumnEventPage {
  const number = Number(cursor);
  const ours = {
    id: `evt_${number}`,
    timestamp: 1_000 - number * 100,
    value: 9,
    deductions: [{ value: 0.1 }, { value: 0.2 }],
    properties: { batch_id: `b${number}` },
  };
  return {
    list: [ours, { id: "other", timestamp: 999 - number * 100, value: 5, properties: {} }],
    nextCursor: number < 6 ? String(number + 1) : null,
  };
}

it("the list of deductions is read to its last page, and no further than asked", async () => {
  const cursors: string[] = [];
  const client = {
    events: { list: async ({ startCursor }: { startCursor: string }) => (cursors.push(startCursor), eventPage(startCursor)) },
  } as unknown as AutumnClient;
  const ledger = createAutumnLedger(
    async () => client,
    "credits",
    async () => ({ kind: "accepted" }),
  );

  const all = await ledger.listDeductions("org_a", new Date(0));
  const recent = await ledger.listDeductions("org_a", new Date(750));

  expect(all?.map((deduction) => [deduction.batchId, deduction.credits])).toEqual(
    Array.from({ length: 7 }, (_, index) => [`b${index}`, "0.3"]),
  );
  expect(recent).toHaveLength(4);
  expect(cursors).toHaveLength(11);
});

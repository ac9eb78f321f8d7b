import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { insertSpend, RATE } from "../../test/test-balances.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertAnomalyEvents, insertWebhookEvent } from "./db.ts";
import { sendDueWebhooks, type WebhookOptions } from "./send-webhooks.ts";
import { SIGNATURE_HEADER, verifyWebhook } from "./signature.ts";

const SECRET = "webhook-secret-0123456789";

interface Received {
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

let database: TestDatabase;
let receiver: Server;
let received: Received[] = [];
/** What the receiver answers, by call; 204 once the list is used up. Null: nothing, for ever. */
let answers: (number | null)[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  receiver = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      const status = answers.length > 0 ? answers.shift() : 204;
      if (status === null || status === undefined) return;
      response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {}).end();
    })();
  });
  await new Promise<void>((done) => receiver.listen(0, "127.0.0.1", done));
});
beforeEach(async () => {
  received = [];
  answers = [];
  await database.db.deleteFrom("webhook_events").execute();
});
afterAll(async () => {
  receiver.closeAllConnections();
  await new Promise((done) => receiver.close(done));
  await database.drop();
});

const url = (): string => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/events`;
const send = (options: Partial<WebhookOptions> = {}) =>
  sendDueWebhooks(database.db, { url: url(), secret: SECRET, timeoutMs: 1_500, retryDelayMs: () => 0, ...options });
const emit = (key?: string) =>
  insertWebhookEvent(database.db, { type: "balance.low", orgId: "org_a", key, payload: { balance_credits: "12.5" } });
const rows = () => database.db.selectFrom("webhook_events").selectAll().execute();

test("an event is told once, signed, with its id", async () => {
  await emit();
  expect(await send()).toEqual({ delivered: 1, failed: 0 });
  expect(await send()).toEqual({ delivered: 0, failed: 0 });
  const [call] = received;
  const [row] = await rows();
  expect(JSON.parse(call?.body ?? "")).toEqual({
    id: row?.event_id,
    type: "balance.low",
    org_id: "org_a",
    created_at: row?.created_at.toISOString(),
    data: { balance_credits: "12.5" },
  });
  expect(call?.headers["webhook-id"]).toBe(row?.event_id);
  const header = String(call?.headers[SIGNATURE_HEADER]);
  const nowSeconds = Math.floor(Date.now() / 1_000);
  expect(verifyWebhook(call?.body ?? "", header, { secret: SECRET, nowSeconds })).toBe(true);
  expect(verifyWebhook(`${call?.body} `, header, { secret: SECRET, nowSeconds })).toBe(false);
  expect(verifyWebhook(call?.body ?? "", header, { secret: "another", nowSeconds })).toBe(false);
  expect(verifyWebhook(call?.body ?? "", header, { secret: SECRET, nowSeconds: nowSeconds + 301 })).toBe(false);
});

test.each([500, 404, 302, null])("a receiver that answers %s is told again with the same id", async (status) => {
  await emit();
  answers = [status];
  expect(await send()).toEqual({ delivered: 0, failed: 1 });
  expect(await send()).toEqual({ delivered: 1, failed: 0 });
  expect(new Set(received.map((call) => call.headers["webhook-id"])).size).toBe(1);
});

test("a receiver that is not there costs nothing but a try, and after three days it is given up visibly", async () => {
  await emit();
  expect(await send({ url: "http://127.0.0.1:1/events" })).toEqual({ delivered: 0, failed: 1 });
  await sql`update webhook_events set created_at = billing_now() - interval '4 days'`.execute(database.db);
  await send({ url: "http://127.0.0.1:1/events" });
  expect(await rows()).toMatchObject([{ state: "dead", attempt_count: 2, last_status: null }]);
});

test("two senders at once tell each event once", async () => {
  for (let n = 0; n < 30; n += 1) await emit();
  await Promise.all([send(), send(), send()]);
  expect(new Set(received.map((call) => call.headers["webhook-id"])).size).toBe(30);
  expect(received).toHaveLength(30);
});

test("an event is told exactly if the transaction of its happening commits, and the same happening once", async () => {
  await database.db
    .transaction()
    .execute(async (tx) => {
      await insertWebhookEvent(tx, { type: "balance.exhausted", orgId: "org_a", key: undefined, payload: {} });
      throw new Error("rolled back");
    })
    .catch(() => undefined);
  await emit("once");
  await emit("once");
  expect(await rows()).toHaveLength(1);
});

test("tokens that cost nothing are told once per org, model and day", async () => {
  for (let n = 0; n < 3; n += 1) await insertSpend(database.db, { orgId: "org_anomaly", usd: "0" });
  await syncSpend(database.db, { rate: RATE });
  await insertAnomalyEvents(database.db, 86_400_000);
  await insertAnomalyEvents(database.db, 86_400_000);
  expect(await rows()).toMatchObject([
    { type: "usage.zero_price", org_id: "org_anomaly", payload: { model: "claude-sonnet-4-5", requests: 3, tokens: 45 } },
  ]);
});

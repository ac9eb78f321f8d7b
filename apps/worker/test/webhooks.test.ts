import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { requestReconcile } from "@proliferate/services/balance";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { SIGNATURE_HEADER, verifyWebhook } from "@proliferate/services/test/internals";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { until } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startWorkerProcess, type WorkerProcess } from "./worker-process.ts";

/** The worker tells a receiver what really happened to an org, whatever the receiver does. */

const AUTUMN_KEY = "am_sk_test_webhooks";
const SECRET = "webhook-secret-of-the-test";

interface Received {
  readonly id: string;
  readonly signature: string;
  readonly body: string;
}
type Behaviour = (response: ServerResponse, request: IncomingMessage) => void;

let database: TestDatabase;
let autumn: AutumnEmulator;
let receiver: Server;
let received: Received[];
/** Of the next calls, one each; then 204. */
let behaviours: Behaviour[];
const workers: WorkerProcess[] = [];
beforeEach(async () => {
  received = [];
  behaviours = [];
  receiver = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      received.push({
        id: String(request.headers["webhook-id"]),
        signature: String(request.headers[SIGNATURE_HEADER]),
        body: Buffer.concat(chunks).toString(),
      });
      (behaviours.shift() ?? answer(204))(response, request);
    })();
  });
  [database, autumn] = await Promise.all([
    createTestDatabase(),
    startAutumnEmulator({ secretKey: AUTUMN_KEY }),
    new Promise<void>((done) => receiver.listen(0, "127.0.0.1", done)),
  ]);
  autumn.grant("org_a", "30");
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.end("SIGKILL")));
  receiver.closeAllConnections();
  await new Promise((done) => receiver.close(done));
  await Promise.all([autumn.stop(), database.drop()]);
});

const answer =
  (status: number, headers = {}): Behaviour =>
  (response) =>
    void response.writeHead(status, headers).end();
const breakOff: Behaviour = (response) => void response.destroy();
const hang: Behaviour = () => undefined;

async function start(): Promise<WorkerProcess> {
  const intervals = { LLM_SYNC_INTERVAL_MS: "200", OUTBOX_INTERVAL_MS: "500", GATE_INTERVAL_MS: "200", BALANCE_INTERVAL_MS: "200" };
  const webhook = {
    BILLING_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hooks`,
    BILLING_WEBHOOK_SECRET: SECRET,
  };
  const worker = await startWorkerProcess({
    DATABASE_URL: database.connectionString,
    AUTUMN_API_KEY: AUTUMN_KEY,
    AUTUMN_API_URL: autumn.url,
    AUTUMN_CLIENT: "http",
    ...intervals,
    ...webhook,
  });
  workers.push(worker);
  return worker;
}

const events = () =>
  database.db.selectFrom("webhook_events").select(["event_id", "type", "state", "attempt_count"]).orderBy("created_at").execute();
/** What was told and taken: the last call of each event. */
const types = (): readonly string[] => [
  ...new Map(received.map((call) => [call.id, (JSON.parse(call.body) as { type: string }).type])).values(),
];
/** The next attempts are due now, and the time of claims whose worker died has passed. */
const letTimePass = () =>
  database.db
    .updateTable("webhook_events")
    .set({ next_attempt_at: new Date(0), lease_until: null })
    .where("state", "=", "pending")
    .execute();

/** An org that Autumn granted 30 credits uses them up, and more. */
async function exhaust(): Promise<void> {
  const hasBalance = (credits: number) =>
    until(
      () => database.db.selectFrom("billing_accounts").select("balance_credits").executeTakeFirst(),
      (row) => Number(row?.balance_credits) === credits,
    );
  // Known before anything is spent: a first reading while a delivery is under way takes the lower bound, for a minute.
  await requestReconcile(database.db, "org_a");
  await hasBalance(30);
  await insertSpendRows(database.db, [{ spendUsd: "0.01" }]);
  await hasBalance(27);
  await insertSpendRows(database.db, [{ spendUsd: "0.2" }]);
  await until(events, (rows) => rows.some(({ type }) => type === "balance.grace_started"));
}

test("low balance and grace are told, signed with the secret, each once", async () => {
  await start();
  await exhaust();
  await until(events, (rows) => rows.every(({ state }) => state === "delivered"));

  const nowSeconds = Math.floor(Date.now() / 1_000);
  expect(types().toSorted()).toEqual(["balance.grace_started", "balance.low"]);
  expect(received).toHaveLength(2);
  expect(received.every(({ body, signature }) => verifyWebhook(body, signature, { secret: SECRET, nowSeconds }))).toBe(true);
  expect(received.some(({ body, signature }) => verifyWebhook(`${body} `, signature, { secret: SECRET, nowSeconds }))).toBe(false);
});

test("a receiver that fails in every way is told again with the same id until it takes it, signed anew each time", async () => {
  behaviours = [answer(500), breakOff, answer(302, { location: "/elsewhere" }), answer(404)];
  await start();
  await exhaust();
  await until(
    async () => (await letTimePass(), events()),
    (rows) => rows.every(({ state }) => state === "delivered"),
  );

  const nowSeconds = Math.floor(Date.now() / 1_000);
  expect(received).toHaveLength(6);
  expect(new Set(received.map(({ id }) => id)).size).toBe(2);
  expect(received.every(({ body, signature }) => verifyWebhook(body, signature, { secret: SECRET, nowSeconds }))).toBe(true);
});

test("an event whose worker is killed while the receiver thinks is told by the next worker; billing never waited for it", async () => {
  behaviours = [hang, hang];
  const worker = await start();
  await exhaust();
  await until(
    async () => received.length,
    (count) => count === 2,
  );
  await insertSpendRows(database.db, [{ spendUsd: "0.01" }]);
  await until(
    () => database.db.selectFrom("billing_events").select("event_id").execute(),
    (rows) => rows.length === 3,
  );
  await worker.end("SIGKILL");
  await letTimePass();
  await start();
  await until(
    async () => (await letTimePass(), events()),
    (rows) => rows.length > 0 && rows.every(({ state }) => state === "delivered"),
  );

  expect(new Set(received.map(({ id }) => id)).size).toBe((await events()).length);
});

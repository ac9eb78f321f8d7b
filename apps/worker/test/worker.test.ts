import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { patience, until } from "@proliferate/testing/test-patience";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { closedPort, startWorkerProcess, type WorkerProcess } from "./worker-process.ts";

let database: TestDatabase;
/** Of an Autumn that is down. */
let autumnPort: number;
const workers: WorkerProcess[] = [];
beforeAll(async () => {
  [database, autumnPort] = await Promise.all([createTestDatabase(), closedPort()]);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.end("SIGKILL")));
});
afterAll(() => database.drop());

const environment = () => ({
  DATABASE_URL: database.connectionString,
  AUTUMN_API_KEY: "am_sk_test_secret_of_the_test",
  AUTUMN_API_URL: `http://127.0.0.1:${autumnPort}/v1`,
  LLM_SYNC_INTERVAL_MS: "200",
  OUTBOX_INTERVAL_MS: "200",
});

async function start(overrides: Readonly<Record<string, string>> = {}): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({ ...environment(), ...overrides });
  workers.push(worker);
  return worker;
}

async function get(worker: WorkerProcess, path: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${worker.url}${path}`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

it("meters and seals while Autumn is down, says so, and logs no key", async () => {
  const worker = await start();
  await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);

  const { body } = await until(
    () => get(worker, "/status"),
    // The report is read by several statements, and the batch may be sealed between two of them.
    ({ body: status }) => {
      const { batches, openEvents } = status["billing"] as { batches: { sealed: { credits: string } }; openEvents: number };
      return batches.sealed.credits === "30" && openEvents === 0;
    },
  );
  await until(
    async () => worker.log(),
    (log) => log.includes("settlement.undelivered"),
  );

  expect(body).toMatchObject({
    queue: "postgres",
    billing: { openEvents: 0, openCredits: "0", batches: { dead: { batches: 0 } }, reviews: { no_org: 0 } },
  });
  expect((await get(worker, "/livez")).status).toBe(200);
  expect(
    await until(
      () => get(worker, "/readyz"),
      ({ status }) => status === 200,
    ),
  ).toMatchObject({ body: { status: "ok", problems: [] } });
  expect((await get(worker, "/nothing")).status).toBe(404);
  expect(worker.log()).not.toContain("secret_of_the_test");
});

it("stops cleanly and soon at SIGTERM", async () => {
  const worker = await start();
  const askedAt = performance.now();

  expect(await worker.end("SIGTERM")).toBe(0);
  expect(performance.now() - askedAt).toBeLessThan(patience(5_000));
});

it("waits for stock LiteLLM to make its table, with one clear line instead of a crash", async () => {
  const worker = await start({ LITELLM_DB_SCHEMA: "not_migrated" });

  await until(
    async () => worker.log(),
    (log) => log.includes("spend_source_missing"),
  );
  const ready = await until(
    () => get(worker, "/readyz"),
    ({ status }) => status === 503 || status === 200,
  );

  expect(ready.body).toHaveProperty("jobs");
  expect(worker.log().match(/spend_source_missing/g)).toHaveLength(1);
  expect(worker.child.exitCode).toBeNull();
});

it.each([
  ["DATABASE_URL", { DATABASE_URL: "" }],
  ["AUTUMN_API_KEY", { AUTUMN_API_KEY: "" }],
  ["AUTUMN_API_URL", { AUTUMN_API_URL: "autumn" }],
  ["BILLING_MARKUP", { BILLING_MARKUP: "three" }],
  ["LLM_SYNC_INTERVAL_MS", { LLM_SYNC_INTERVAL_MS: "soon" }],
])("refuses to start on a wrong %s, and names it", async (name, overrides) => {
  await expect(startWorkerProcess({ ...environment(), ...overrides })).rejects.toThrow(new RegExp(`${name}.*docs/env.md`, "s"));
});

it("says that the database cannot be reached", async () => {
  await expect(startWorkerProcess({ ...environment(), DATABASE_URL: `postgresql://app@127.0.0.1:${autumnPort}/app` })).rejects.toThrow(
    /PostgreSQL cannot be reached.*DATABASE_URL/s,
  );
});

it("says that the migrations were not applied", async () => {
  const server = new URL(database.connectionString);
  server.pathname = "/postgres";

  await expect(startWorkerProcess({ ...environment(), DATABASE_URL: server.toString() })).rejects.toThrow(
    /tables are not there yet.*migrations/s,
  );
});

it("says that Redis cannot be reached", async () => {
  await expect(startWorkerProcess({ ...environment(), REDIS_URL: `redis://127.0.0.1:${autumnPort}` })).rejects.toThrow(
    /Redis cannot be reached.*REDIS_URL/s,
  );
});

it("bills over LiteLLM's REST API where its database is out of reach", async () => {
  const litellm = await startLiteLLMStandIn();
  const startTime = new Date(Date.now() - 60_000).toISOString();
  litellm.spendRows.push({
    request_id: "over_rest",
    call_type: "anthropic_messages",
    api_key: "hash",
    team_id: "org_rest",
    user: "session_rest",
    model: "m",
    prompt_tokens: 1,
    completion_tokens: 1,
    total_tokens: 2,
    startTime,
    endTime: startTime,
    spend: "0.1",
  });
  try {
    await start({ SPEND_SOURCE: "rest", LLM_PROXY_URL: litellm.url, LLM_PROXY_MASTER_KEY: litellm.masterKey });

    const events = await until(
      () =>
        database.db
          .selectFrom("billing_events")
          .select(["org_id", "session_id", "credits", "rate_card_id"])
          .where("request_id", "=", "over_rest")
          .execute(),
      (rows) => rows.length > 0,
    );

    expect(events).toMatchObject([{ org_id: "org_rest", session_id: "session_rest", credits: "30.0" }]);
    expect(events[0]?.rate_card_id).not.toBeNull();
  } finally {
    await litellm.stop();
  }
});

import { createLogger, listen, type Listener } from "@proliferate/runtime";
import { openDatabase } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { recordPass } from "@proliferate/services/passes";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { createHealthServer, type HealthDeps } from "./health.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(() => database.db.deleteFrom("worker_passes").execute());

const listeners: Listener[] = [];
afterEach(async () => {
  await Promise.all(listeners.splice(0).map((listener) => listener.stop()));
});

async function get(path: string, overrides: Partial<HealthDeps> = {}, init: RequestInit = {}): Promise<{ status: number; body: unknown }> {
  const server = createHealthServer({
    db: database.db,
    logger: createLogger("health-test", "silent"),
    queueBackend: "postgres",
    jobs: { sync: 1_000, outbox: 2_000 },
    ...overrides,
  });
  const listener = await listen(server, { port: 0, host: "127.0.0.1", portVariable: "WORKER_PORT" });
  listeners.push(listener);
  const response = await fetch(`http://127.0.0.1:${listener.port}${path}`, init);
  const text = await response.text();
  return { status: response.status, body: response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text };
}

it("is ready once every job has run to its end, on whichever worker", async () => {
  await recordPass(database.db, "sync");
  expect(await get("/readyz")).toMatchObject({
    status: 503,
    body: { problems: [{ part: "outbox", code: "late", message: "no pass yet" }] },
  });
  await recordPass(database.db, "outbox");

  expect(await get("/readyz")).toMatchObject({ status: 200, body: { status: "ok", problems: [] } });
});

it("is not ready when a job did not succeed for long, and names it", async () => {
  await recordPass(database.db, "sync");
  await recordPass(database.db, "outbox");
  await database.db
    .updateTable("worker_passes")
    .set({ succeeded_at: new Date(Date.now() - 120_000) })
    .where("job", "=", "sync")
    .execute();

  expect(await get("/readyz")).toMatchObject({ status: 503, body: { problems: [{ part: "sync", code: "late" }] } });
});

it("is alive but not ready while the database is away", async () => {
  const away = openDatabase({ connectionString: "postgresql://app@127.0.0.1:9/app" });

  expect(await get("/livez", { db: away })).toMatchObject({ status: 200 });
  expect(await get("/readyz", { db: away })).toMatchObject({
    status: 503,
    body: { problems: [{ part: "database", code: "store_unavailable" }] },
  });
  await away.destroy();
});

it("refuses what it does not serve", async () => {
  expect(await get("/")).toMatchObject({ status: 404 });
  expect(await get("/status", {}, { method: "POST" })).toMatchObject({ status: 404 });
});

it("tells Prometheus every lag and state, and that the database is away instead of failing", async () => {
  await recordPass(database.db, "sync");
  const away = openDatabase({ connectionString: "postgresql://app@127.0.0.1:9/app" });

  const { status, body } = await get("/metrics");
  const withoutDatabase = await get("/metrics", { db: away });

  expect(status).toBe(200);
  for (const line of [
    'llm_gateway_worker_job_interval_seconds{job="outbox"} 2',
    'llm_gateway_billing_batches{state="dead"} 0',
    "llm_gateway_billing_unbilled_usd 0",
  ]) {
    expect(body).toContain(line);
  }
  // In whole seconds, of a pass that was a moment ago.
  expect(body).toMatch(/llm_gateway_billing_pass_age_seconds\{job="sync"\} \d{1,2}\n/);
  expect(withoutDatabase).toMatchObject({
    status: 200,
    body: expect.stringContaining('llm_gateway_metrics_source_up{source="billing_lags"} 0'),
  });
  await away.destroy();
});

it("hostile 13: where a token is set status and metrics are for it alone, on this machine, too", async () => {
  const foreign = { headers: { "x-forwarded-for": "203.0.113.7" } };
  const withToken = { headers: { ...foreign.headers, authorization: "Bearer metrics-token-of-the-test" } };
  const deps = { metricsToken: "metrics-token-of-the-test" };

  for (const path of ["/status", "/metrics"]) {
    expect(await get(path, deps, foreign)).toMatchObject({ status: 401, body: { error: { code: "unauthorized" } } });
    expect(await get(path, deps, withToken)).toMatchObject({ status: 200 });
    expect(await get(path, deps)).toMatchObject({ status: 401 });
    expect(await get(path, {})).toMatchObject({ status: 200 });
    expect(await get(path, {}, foreign)).toMatchObject({ status: 401 });
  }
  expect(await get("/livez", deps, foreign)).toMatchObject({ status: 200 });
});

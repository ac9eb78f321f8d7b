import { setTimeout as delay } from "node:timers/promises";
import { createTestDatabase, onServer, type TestDatabase } from "@proliferate/db/test-database";
import { patience, until } from "@proliferate/testing/test-patience";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { type JobQueue, type JobQueueOptions, openJobQueue } from "./queue.ts";

const redisUrl = process.env["TEST_REDIS_URL"];

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const opened: JobQueue[] = [];
const errors: { job: string; error: unknown }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((queue) => queue.stop()));
  errors.length = 0;
});

async function openQueue(options: Partial<JobQueueOptions> = {}): Promise<JobQueue> {
  const queue = await openJobQueue({
    databaseUrl: database.connectionString,
    deploymentId: "queue-test",
    onError: (error, job) => errors.push({ error, job }),
    ...options,
  });
  opened.push(queue);
  return queue;
}

it("code 3: however many jobs there are, each runs, and runs again", async () => {
  const queue = await openQueue();
  const runs = new Map<string, number>();
  const names = Array.from({ length: 12 }, (_, index) => `many-${index}-${Date.now()}`);

  for (const name of names) await queue.every(name, 300, async () => void runs.set(name, (runs.get(name) ?? 0) + 1));
  await until(() => names.every((name) => (runs.get(name) ?? 0) >= 3));

  expect(errors).toEqual([]);
});

it("an error that is not of the connection does not make a queue spin, and it goes on by itself when that is mended", async () => {
  const queue = await openQueue();
  let runs = 0;
  await queue.every(`resting-${Date.now()}`, 100, async () => void (runs += 1));
  await until(() => runs >= 2);

  await onServer(database.connectionString, "alter schema bullmq rename to bullmq_away");
  await until(() => errors.length >= 2);
  const [seen, since] = [errors.length, performance.now()];
  await until(() => errors.length >= seen + 3);
  // Two loops ask, the worker's and that of stalled jobs; unchecked it would be thousands a second.
  expect((errors.length - seen) / (performance.now() - since)).toBeLessThan(10 / 1_000);
  await onServer(database.connectionString, "alter schema bullmq_away rename to bullmq");
  const before = runs;
  await until(() => runs > before + 2);
});

it("a job whose queue cannot connect is refused at once, instead of being tried for ever without a pause", async () => {
  const own = await createTestDatabase();
  try {
    const queue = await openQueue({ databaseUrl: own.connectionString });
    const name = new URL(own.connectionString).pathname.slice(1);
    await onServer(inject("postgresServer"), `alter database ${name} allow_connections false`);
    await onServer(inject("postgresServer"), `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`);

    await expect(queue.every("never", 100, async () => undefined)).rejects.toThrow(/not currently accepting connections|terminat/);

    expect(errors.length).toBeLessThan(10);
    await onServer(inject("postgresServer"), `alter database ${name} allow_connections true`);
  } finally {
    await Promise.all(opened.splice(0).map((queue) => queue.stop()));
    await own.drop();
  }
});

/** A schedule has one tick in each interval and one at its beginning; a slow machine makes ticks late, never more of them. */
const mostRuns = (begunAt: number, intervalMs: number): number => 2 + (performance.now() - begunAt) / intervalMs;

// The Redis leg needs a server: `.ci/run` sets TEST_REDIS_URL.
describe.each(redisUrl ? (["postgres", "redis"] as const) : (["postgres"] as const))("a queue on %s", (backend) => {
  // A name of its own for each test, as all share one store.
  let names = 0;
  const newName = () => `${backend}-test-${process.pid}-${Date.now()}-${(names += 1)}`;
  const open = () => openQueue(backend === "redis" ? { redisUrl } : {});

  it("runs a job at once", async () => {
    const queue = await open();
    let runs = 0;

    // The second tick is a day away: longer than any test may take.
    await queue.every(newName(), 86_400_000, async () => void (runs += 1));
    await until(() => runs === 1);

    expect(queue.backend).toBe(backend);
  });

  it("runs a job again at its interval, and not more often", async () => {
    const queue = await open();
    const begunAt = performance.now();
    let runs = 0;

    await queue.every(newName(), 200, async () => void (runs += 1));
    await until(() => runs >= 5);

    expect(runs).toBeLessThanOrEqual(mostRuns(begunAt, 200));
  });

  it("goes on after a job that threw, and reports the error", async () => {
    const queue = await open();
    const name = newName();
    let runs = 0;

    await queue.every(name, 100, async () => {
      runs += 1;
      if (runs === 1) throw new Error("bad tick");
    });
    await until(() => runs >= 3);

    expect(errors.filter((entry) => entry.job === name).map((entry) => (entry.error as Error).message)).toEqual(["bad tick"]);
  });

  it("shares one schedule among processes: two queues do not run it twice as often", async () => {
    const [first, second] = [await open(), await open()];
    const name = newName();
    const begunAt = performance.now();
    let runs = 0;
    const job = async () => void (runs += 1);

    await first.every(name, 300, job);
    await second.every(name, 300, job);
    await until(() => runs >= 8);

    // A schedule for each would have needed half of the time.
    expect(runs).toBeLessThanOrEqual(mostRuns(begunAt, 300));
  });

  it("never overlaps a slow job with itself within a process", async () => {
    const queue = await open();
    let running = 0;
    let most = 0;
    let runs = 0;

    await queue.every(newName(), 100, async () => {
      running += 1;
      most = Math.max(most, running);
      await delay(250);
      running -= 1;
      runs += 1;
    });
    await until(() => runs >= 3);

    expect(most).toBe(1);
  });

  it("goes on when another process with the same schedule stops", async () => {
    const [first, second] = [await open(), await open()];
    const name = newName();
    let runs = 0;
    await first.every(name, 150, async () => undefined);
    await second.every(name, 150, async () => void (runs += 1));

    await first.stop();
    const before = runs;
    await until(() => runs >= before + 3);

    expect(runs).toBeGreaterThan(before);
  });

  it("stops within its time although a job hangs", async () => {
    const queue = await open();
    let started = false;
    const hanging = Promise.withResolvers<void>();
    await queue.every(newName(), 1_000, async () => {
      started = true;
      await hanging.promise;
    });
    await until(() => started);
    const stoppedAt = performance.now();

    await queue.stop();

    expect(performance.now() - stoppedAt).toBeLessThan(patience(6_000));
    hanging.resolve();
  });
});

it("is there again after PostgreSQL lost every connection and the queue's tables were emptied", async () => {
  const queue = await openQueue();
  let runs = 0;
  await queue.every("emptied", 200, async () => void (runs += 1));
  await until(() => runs >= 1);

  await onServer(
    database.connectionString,
    "do $$ declare t record; begin for t in select tablename from pg_tables where schemaname = 'bullmq' and tablename not like '%migration%' loop execute format('truncate bullmq.%I cascade', t.tablename); end loop; end $$",
  );
  await onServer(
    database.connectionString,
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'llm-gateway-queue' and datname = current_database()",
  );
  const before = runs;
  await until(() => runs >= before + 3);

  expect(runs).toBeGreaterThan(before);
});

it("says that Redis cannot be reached instead of waiting for it", async () => {
  await expect(openQueue({ redisUrl: "redis://127.0.0.1:9" })).rejects.toMatchObject({
    code: "redis_unreachable",
    message: expect.stringContaining("ECONNREFUSED"),
  });
});

it.runIf(redisUrl)("keeps two deployments on one Redis apart", async () => {
  const runs = { first: 0, second: 0 };
  const [first, second] = [
    await openQueue({ redisUrl, deploymentId: `first-${Date.now()}` }),
    await openQueue({ redisUrl, deploymentId: `second-${Date.now()}` }),
  ];

  await first.every("same-name", 100, async () => void (runs.first += 1));
  await second.every("same-name", 3_600_000, async () => void (runs.second += 1));
  await until(() => runs.first >= 10);

  expect(runs.second).toBe(1);
});

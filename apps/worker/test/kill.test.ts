import { chmod, mkdtemp, rm } from "node:fs/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { runKills } from "./kill-run.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp("/var/tmp/llm-gateway-kill-");
  await chmod(folder, 0o755);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it("pitfall 15 two workers, crash mid-batch: kill -9 of workers, PostgreSQL restarted and killed, the queue emptied: nothing lost, nothing twice", async () => {
  const report = await runKills({ kills: 8, folder, redisUrl: process.env["TEST_REDIS_URL"] });

  expect(report).toMatchObject({ kills: 8, postgresRestarts: 1, postgresCrashes: 1, queueFlushes: 1, lostRows: 0, doubledRows: 0 });
  expect(report.spendRows).toBeGreaterThan(200);
  expect(report.ledgerUsd).toBe(report.sourceUsd);
  expect(report.autumnCredits).toBe(report.deliveredCredits);
});

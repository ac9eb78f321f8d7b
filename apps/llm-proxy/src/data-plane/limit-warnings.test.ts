import type { CountedLimit } from "@proliferate/access/limits";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type Logger, Registry } from "@proliferate/runtime";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LimitWarnings } from "./limit-warnings.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const usedUp = (id: string, windowEnd: string): CountedLimit => ({
  principal: { kind: "user", id },
  meter: "requests",
  window: "day",
  model: "",
  windowStart: "-infinity",
  windowEnd,
  secondsLeft: 1,
  enforce: "refuse",
  amount: "10",
  used: "10",
  reserved: "0",
});

test("a warning that cannot be told keeps no other from it", async () => {
  const said: unknown[] = [];
  const logger = { warn: () => undefined, error: (_: unknown, event: unknown) => void said.push(event) } as unknown as Logger;
  const warnings = new LimitWarnings({ db: database.db, logger, registry: new Registry(), everyMs: 1 });
  const nobody = { teamId: null, softBudgetUsd: null, teamSoftBudgetUsd: null };

  warnings.look(nobody, [usedUp("first", "no time that anybody can read"), usedUp("second", "infinity")]);

  const told = async (): Promise<unknown> =>
    (await sql<{ id: string }>`select payload->>'principal_id' as id from webhook_events`.execute(database.db)).rows;
  await expect.poll(told).toEqual([{ id: "second" }]);
  expect(said).toEqual(["limit_warnings.not_told"]);
  await warnings.stop();
});

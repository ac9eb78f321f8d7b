import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { addDecimals } from "@proliferate/shared/money";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAutumnSink } from "../sinks/autumn/autumn.ts";
import { readUsageByModel } from "../ledger/event-batches-db.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";

let database: TestDatabase;
let autumn: AutumnEmulator;
beforeAll(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator({ secretKey: "am_sk_test_models" });
  autumn.grant("org_a", "1000");
  await insertSpendRows(database.db, [
    { requestId: "msg_1", spendUsd: "0.01", model: "anthropic/claude-opus-5" },
    { requestId: "msg_2", spendUsd: "0.02", model: "anthropic/claude-haiku-4-5" },
    { requestId: "msg_3", spendUsd: "0.005", model: "anthropic/claude-opus-5" },
    { requestId: "msg_4", spendUsd: "0.001", model: "a model, oddly named" },
  ]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
});
afterAll(async () => {
  await autumn.stop();
  await database.drop();
});

test("autumn fresh eyes 5: a delivery tells Autumn what its requests used by model, and takes the same credits as without", async () => {
  await settle(database.db, {
    sink: createAutumnSink({
      secretKey: "am_sk_test_models",
      serverUrl: autumn.url,
      apiVersion: "2.3.0",
      featureId: "credits",
      client: "http",
    }),
  });

  expect(autumn.events).toHaveLength(1);
  expect(autumn.events[0]).toMatchObject({
    value: "10.8",
    properties: {
      "event_count": 4,
      "credits.anthropic/claude-haiku-4-5": "6",
      "requests.anthropic/claude-haiku-4-5": 1,
      "credits.anthropic/claude-opus-5": "4.5",
      "requests.anthropic/claude-opus-5": 2,
      "credits.a_model__oddly_named": "0.3",
    },
  });
});

test("beyond the models that are named, the others are one, and nothing is left out", async () => {
  const { batch_id: batchId } = await database.db.selectFrom("settlement_batches").select("batch_id").executeTakeFirstOrThrow();

  const usage = await readUsageByModel(database.db, batchId, 1);

  expect(usage).toEqual([
    { model: "anthropic/claude-haiku-4-5", credits: "6", requests: 1 },
    { model: "", credits: "4.8", requests: 3 },
  ]);
  expect(addDecimals(...usage.map(({ credits }) => credits))).toBe("10.8");
});

import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterAll, beforeAll, expect, it } from "vitest";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { settle } from "../settlement/settlement.ts";
import { createAutumnSink } from "../sinks/autumn/autumn.ts";
import type { SettlementLedgerView } from "../sinks/port/sink.ts";
import { reconcileDeliveries } from "./reconcile-deliveries.ts";

let database: TestDatabase;
let autumn: AutumnEmulator;
beforeAll(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator({ secretKey: "am_sk_test_at_once" });
  autumn.grant("org_a", "1000");
});
afterAll(async () => {
  await autumn.stop();
  await database.drop();
});

it("review 7: a difference that two comparisons found is corrected once, also where the second comes to it when the first is over", async () => {
  const sink = createAutumnSink({ secretKey: "am_sk_test_at_once", serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits" });
  const ledger = sink.ledger as Required<SettlementLedgerView>;
  const pass = () => settle(database.db, { sink, retryDelayMs: () => 0, parkedDelayMs: () => 0 });
  for (const deductions of [0, 2]) {
    await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);
    await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
    autumn.fail(() => autumn.events.length === deductions, { kind: "status_after_apply", status: 500 });
    await pass();
    await pass();
  }
  expect(autumn.deducted("org_a")).toBe("120");

  const firstHasRead = Promise.withResolvers<void>();
  const secondHasRead = Promise.withResolvers<void>();
  const secondCorrects = Promise.withResolvers<void>();
  const firstIsOver = Promise.withResolvers<void>();
  const run = async (hasRead: () => void, otherHasRead: Promise<void>, mayCorrect: () => Promise<void>): Promise<unknown> => {
    const view: SettlementLedgerView = {
      ...ledger,
      readUsage: async (orgId) => {
        const usage = await ledger.readUsage(orgId);
        hasRead();
        await otherHasRead;
        return usage;
      },
      correct: async (correction) => {
        await mayCorrect();
        return ledger.correct(correction);
      },
    };
    return reconcileDeliveries(database.db, view, { dryRun: false, quietMs: 0, corrections: "apply" });
  };
  const first = run(firstHasRead.resolve, secondHasRead.promise, () => secondCorrects.promise).then(() => firstIsOver.resolve());
  const second = run(secondHasRead.resolve, firstHasRead.promise, () => {
    secondCorrects.resolve();
    return firstIsOver.promise;
    // It corrects nothing where it sees that the first has begun to: then nobody waits for it.
  }).finally(() => secondCorrects.resolve());
  await Promise.all([first, second]);

  expect(autumn.deducted("org_a")).toBe("60");
  expect(await database.db.selectFrom("settlement_corrections").select(["credits", "state"]).execute()).toEqual([
    { credits: "-30", state: "applied" },
    { credits: "-30", state: "applied" },
  ]);
});

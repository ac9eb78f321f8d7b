import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { seedRateCard } from "@proliferate/services/rates";
import { syncSpend } from "@proliferate/services/billing";
import { settle } from "@proliferate/services/settlement";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { ScriptedSink } from "@proliferate/services/test/test-sink";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runInProcess } from "./in-process-cli.ts";

/** PostgreSQL spells each of them with an exponent where it is a DOUBLE. */
const TINY = ["0.0000266", "0.000000000001", "0.00001", "0.00000003"] as const;
const HUGE = "999999.5";

let database: TestDatabase;
let batchId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  const rows = TINY.map((spendUsd, index) => ({ requestId: `msg_${index}`, spendUsd }));
  await insertSpendRows(database.db, [
    ...rows,
    { requestId: "msg_huge", spendUsd: HUGE },
    { requestId: "msg_lost", orgId: "", sessionId: "nobody", spendUsd: "0.0000266" },
    { requestId: "msg_bad", spendUsd: "1e22" },
  ]);
  await seedRateCard(database.db, { markup: "3", creditsPerUsd: "100" });
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const sink = new ScriptedSink();
  sink.script = () => ({ kind: "shortfall", status: 200, deductedCredits: "0.0000001" });
  await settle(database.db, { sink });
  batchId = (await database.db.selectFrom("settlement_batches").select("batch_id").executeTakeFirstOrThrow()).batch_id;
});
afterAll(() => database.drop());

/** A number with an exponent that stands alone: not a piece of a hash or an id. */
const EXPONENT = /(?<![0-9A-Za-z_-])-?\d+(?:\.\d+)?e[+-]?\d+(?![0-9A-Za-z_-])/i;

test("the pattern of this test knows an exponent, and no piece of an id", () => {
  expect(["$2.66e-05", '"1e+22"', "3E7 credits"].map((text) => EXPONENT.test(text))).toEqual([true, true, true]);
  expect(["11111111-1e4e-4111-8111-11111111e111", "hash_1e5", "2e5f"].map((text) => EXPONENT.test(text))).toEqual([false, false, false]);
});

test.each([
  [["status"]],
  [["explain", "msg_0"]],
  [["explain", "msg_1"]],
  [["explain", "msg_huge"]],
  [["explain", "msg_lost"]],
  [["explain", "msg_bad"]],
  [["explain", "batch"]],
  [["export"]],
  [["audit", "--from", "2020-01-01", "--to", "2100-01-01"]],
  [["org", "list"]],
  [["org", "show", "org_a"]],
  [["review", "list"]],
  [["redrive", "msg_lost", "--org", "org_a"]],
  [["rate-card", "add", "--org", "org_a", "--markup", "0.000001", "--from", "2090-01-01"]],
  [["rate-card", "list"]],
  [["top-up", "set", "org_a", "--plan", "p", "--credits", "0.000001", "--threshold", "100000000000000"]],
  [["top-up", "show", "org_a"]],
  [["org", "set", "org_a", "--overdraft", "0.000000000001", "--low-balance", "100000000000000"]],
  [["actions"]],
] as const)("%j prints plain decimals, for people and for programs", async (argv) => {
  const named = argv.map((word) => (word === "batch" ? batchId : word));
  for (const format of [[], ["--json"]]) {
    const { stdout, stderr } = await runInProcess([...named, ...format], { DATABASE_URL: database.connectionString, OPERATOR_NAME: "ann" });
    expect(stdout + stderr).not.toMatch(EXPONENT);
    expect(stdout + stderr).not.toBe("");
  }
});

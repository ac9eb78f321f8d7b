import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { settle } from "@proliferate/services/settlement";
import type { DeliveryOutcome } from "@proliferate/services/sinks";
import { readLowWaterMark } from "@proliferate/services/test/internals";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { ScriptedSink } from "@proliferate/services/test/test-sink";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type CliResult, runCli } from "./cli-process.ts";

// Each test starts several processes, and a busy machine takes seconds for one.
vi.setConfig({ testTimeout: 90_000 });

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const billing = (...argv: readonly string[]): Promise<CliResult> => runCli(argv, { DATABASE_URL: database.connectionString });

/** One row from its source to the sink's answer. Returns its batch. */
async function bill(requestId: string, script: () => DeliveryOutcome | undefined = () => undefined): Promise<string> {
  await insertSpendRows(database.db, [{ requestId, spendUsd: "0.01" }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const sink = new ScriptedSink();
  sink.script = script;
  await settle(database.db, { sink });
  const batch = await database.db.selectFrom("settlement_batches").select("batch_id").executeTakeFirst();
  return batch?.batch_id ?? "";
}

const parked = (): DeliveryOutcome => ({ kind: "parked", status: 404, code: "customer_not_found", message: "Customer org_a is unknown." });

test("status says that nothing is unbilled when every sum agrees, and exits 0", async () => {
  await bill("msg_1");

  const [text, json] = await Promise.all([billing("status"), billing("status", "--json")]);

  expect(text).toMatchObject({ status: 0, stderr: "" });
  expect(text.stdout).toMatch(/unbilled +\$0\.00\n/);
  expect(text.stdout).toMatch(/Nothing to do: every sum agrees\.\n$/);
  expect(JSON.parse(json.stdout)).toMatchObject({
    problems: [],
    completeness: { source_rows: 1, source_usd: "0.01", billed_usd: "0.01", unbilled_usd: "0" },
    unposted_credits: "0",
  });
});

test("code 21: status shows up to when the source may delete its rows, as text and as JSON", async () => {
  await bill("msg_1");
  const before = await Promise.all([billing("status"), billing("status", "--json")]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" }, fullSweep: true });
  const mark = (await readLowWaterMark(database.db))?.toISOString();
  const [text, json] = await Promise.all([billing("status"), billing("status", "--json")]);

  expect(before[0].stdout).toMatch(/low-water mark +none before the first sweep/);
  expect(JSON.parse(before[1].stdout)).toMatchObject({ low_water_mark: null });
  expect(mark).toBeDefined();
  expect(text.stdout).toContain(`${mark}: spend rows that began before it may be deleted`);
  expect(JSON.parse(json.stdout)).toMatchObject({ low_water_mark: mark });
});

test("status names a spend row that was missed, and exits 5", async () => {
  await insertSpendRows(database.db, [{ spendUsd: "0.07" }]);
  await database.db
    .updateTable("LiteLLM_SpendLogs")
    .set({ endTime: new Date(Date.now() - 3_600_000) })
    .execute();

  const result = await billing("status");

  expect(result.status).toBe(5);
  expect(result.stdout).toMatch(/unbilled +\$0\.07 in 1 rows.*1 spend rows, \$0\.07, have no event/s);
});

test("explain writes the arithmetic out and follows the request to the balance", async () => {
  const batchId = await bill("msg_1");

  const [text, json] = await Promise.all([billing("explain", "msg_1"), billing("explain", batchId, "--json")]);

  expect(text.status).toBe(0);
  for (const part of ["Spend row msg_1", "0.01 USD x 3 x 100 = 3 credits", `pb:${batchId}`, "delivered (200)", "3 - 3 = 0 credits"])
    expect(text.stdout).toContain(part);
  expect(JSON.parse(json.stdout)).toMatchObject({ kind: "batch", batches: [{ batch_id: batchId, state: "delivered" }] });
});

test("redrive makes a parked batch due again, once", async () => {
  const batchId = await bill("msg_1", parked);
  expect((await billing("status")).stdout).toMatch(/parked +1 batches, 3 credits wait until/);

  const first = await billing("redrive", batchId, "--json");
  const second = await billing("redrive", batchId);

  expect(JSON.parse(first.stdout)).toMatchObject({ kind: "batch", id: batchId, redriven: true, state: "sealed" });
  expect(second).toMatchObject({ status: 0, stdout: expect.stringContaining("nothing was changed") });
  expect(await database.db.selectFrom("settlement_batches").select("redrive_count").execute()).toEqual([{ redrive_count: 1 }]);
});

test("a batch that was deducted in part is not redriven: exit 4, with the reason", async () => {
  const batchId = await bill("msg_1", () => ({ kind: "unapplied", status: 200, code: "shortfall", deductedCredits: "1" }));

  expect(await billing("redrive", batchId)).toMatchObject({
    status: 4,
    stdout: "",
    stderr: expect.stringContaining("deducted 1 of its 3 credits"),
  });
});

test("export writes CSV, or one JSON object a line, of the org and range that were asked for", async () => {
  await bill("msg_1");

  const [csv, json, none] = await Promise.all([
    billing("export"),
    billing("export", "--json", "--org", "org_a", "--from", "2020-01-01"),
    billing("export", "--json", "--to", "2020-01-01"),
  ]);

  expect(csv.stdout.split("\r\n")).toHaveLength(3);
  expect(JSON.parse(json.stdout)).toMatchObject({ request_id: "msg_1", credits: "3", batch_state: "delivered" });
  expect(none).toMatchObject({ status: 0, stdout: "" });
});

test("a spend row without org is billed to the one that redrive names, and another is dismissed", async () => {
  await billing("rate-card", "add", "--markup", "3", "--from", "2020-01-01");
  await insertSpendRows(database.db, [
    { requestId: "msg_1", orgId: "", spendUsd: "0.01" },
    { requestId: "msg_2", orgId: "", spendUsd: "0.02" },
  ]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });

  const [without, billed] = await Promise.all([billing("redrive", "id:msg_2"), billing("redrive", "msg_1", "--org", "org_b", "--create")]);
  const dismissed = await billing("dismiss", "id:msg_2", "--json");

  expect(without).toMatchObject({ status: 2, stderr: expect.stringContaining("--org") });
  expect(billed).toMatchObject({ status: 0, stdout: "Review id:msg_1, $0.01, is billed to org_b.\n" });
  expect(JSON.parse(dismissed.stdout)).toMatchObject({ id: "id:msg_2", state: "dismissed" });
  expect((await billing("explain", "msg_1")).stdout).toMatch(
    /rate card 1, the default, valid since 2020-01-01.*0\.01 USD x 3 x 100 = 3 credits/s,
  );
});

test("an audit finds a planted missing row, heals it, and finds nothing the next time", async () => {
  await bill("msg_1");
  await insertSpendRows(database.db, [{ requestId: "msg_missed", spendUsd: "0.07", ageMs: 40 * 86_400_000 }]);
  const range = ["--from", "2020-01-01", "--to", "2100-01-01"] as const;

  const found = await billing("audit", ...range);
  const healed = await billing("audit", ...range, "--heal", "--json");

  expect(found).toMatchObject({
    status: 5,
    stdout: expect.stringMatching(/1 are not in the ledger.*\$0\.07.*org_a: source 1 rows.*1 never billed.*msg_missed/s),
  });
  expect({ status: healed.status, ...JSON.parse(healed.stdout) }).toMatchObject({ status: 0, missing_rows: 1, healed_rows: 1 });
  expect(await billing("audit", ...range)).toMatchObject({ status: 0, stdout: expect.stringContaining("every one is in the ledger") });
  expect(await billing("audit", "--from", "2026-01-02", "--to", "2026-01-01")).toMatchObject({ status: 2 });
});

test("an alert of the ledger is a problem until somebody closes it", async () => {
  await database.db
    .insertInto("billing_alerts")
    .values({ alert_key: "partition_missing", kind: "partition_missing", message: "3 events stand apart." })
    .execute();

  expect(await billing("status")).toMatchObject({
    status: 5,
    stdout: expect.stringContaining("3 events stand apart. Settled: billing clear-alert partition_missing"),
  });
  expect((await billing("clear-alert", "partition_missing")).stdout).toBe("Alert partition_missing is closed.\n");
  expect((await billing("clear-alert", "partition_missing")).stdout).toContain("nothing was changed");
  expect((await billing("status")).status).toBe(0);
});

test("rate cards follow one another; an overlap is exit 4, a rate that is not above zero exit 2, and nothing is changed", async () => {
  expect((await billing("rate-card", "add", "--org", "org_a", "--markup", "3", "--from", "2026-01-01")).status).toBe(0);
  expect((await billing("rate-card", "add", "--org", "org_a", "--markup", "2.5", "--from", "2026-06-01", "--json")).status).toBe(0);
  const refused = await Promise.all([
    billing("rate-card", "add", "--org", "org_a", "--markup", "4", "--from", "2026-03-01", "--to", "2026-09-01"),
    billing("rate-card", "add", "--org", "org_a", "--markup", "-3"),
    billing("rate-card", "add", "--markup", "0"),
    billing("rate-card", "add"),
  ]);

  expect(refused.map(({ status }) => status)).toEqual([4, 2, 2, 2]);
  const { stdout } = await billing("rate-card", "list", "--org", "org_a", "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    rate_cards: [
      { markup: "3", valid_to: "2026-06-01T00:00:00.000Z" },
      { markup: "2.5", valid_to: null },
    ],
  });
});

test.each([
  ["an unknown id", ["explain", "msg_none"], 3, '"msg_none"'],
  ["an unknown batch", ["redrive", randomUUID()], 3, "There is no batch and no review"],
  ["an impossible day", ["export", "--from", "2026-02-30"], 2, '--from "2026-02-30"'],
  ["an empty range", ["export", "--from", "2026-02-02", "--to", "2026-02-01"], 2, "The range is empty"],
  ["an unknown command", ["explian", "x"], 2, "Did you mean explain"],
  ["a missing argument", ["explain"], 2, "missing required argument"],
  ["an argument too many", ["status", "now"], 2, "too many arguments"],
  ["two formats at once", ["export", "--csv", "--json"], 2, "cannot be used with"],
])("%s is refused in one line that says what to do, and prints nothing else", async (_, argv, status, message) => {
  const result = await billing(...argv);

  expect(result).toMatchObject({ status, stdout: "", stderr: expect.stringContaining(message) });
});

test("with --json an error is JSON, too", async () => {
  const { status, stderr } = await billing("explain", "msg_none", "--json");

  expect({ status, error: JSON.parse(stderr) }).toMatchObject({
    status: 3,
    error: { error: { code: "billing_not_found", message: expect.any(String), fix: expect.any(String) } },
  });
});

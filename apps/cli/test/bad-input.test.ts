import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CliResult } from "./cli-process.ts";
import { runInProcess } from "./in-process-cli.ts";

const UNKNOWN_ID = "11111111-1111-4111-8111-111111111111";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.01" }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
});
afterAll(() => database.drop());

const billing = (...argv: readonly string[]): Promise<CliResult> =>
  runInProcess(argv, { DATABASE_URL: database.connectionString, OPERATOR_NAME: "ann" });
/** Everything that a command could have changed. */
const dump = async (): Promise<string> =>
  JSON.stringify(
    await Promise.all(
      (
        [
          "org_gates",
          "billing_accounts",
          "top_up_policies",
          "top_ups",
          "settlement_batches",
          "sink_customers",
          "key_owners",
          "spend_reviews",
          "rate_cards",
          "operator_actions",
        ] as const
      ).map((name) => database.db.selectFrom(name).selectAll().execute()),
    ),
  );

test.each([
  ["an unknown organization", ["org", "show", "org_none"], 3, '"org_none"'],
  ["an unknown organization", ["org", "suspend", "org_none", "--reason", "x"], 3, '"org_none"'],
  ["an unknown organization", ["org", "resume", "org_none"], 3, '"org_none"'],
  ["an unknown organization", ["org", "flush", "org_none"], 3, '"org_none"'],
  ["an unknown organization", ["top-up", "set", "org_none", "--plan", "p", "--credits", "5"], 3, '"org_none"'],
  ["an unknown organization", ["top-up", "show", "org_none"], 3, '"org_none"'],
  ["an unknown organization", ["customer", "map", "org_none", "cus_A"], 3, '"org_none"'],
  ["an unknown organization", ["review", "map-key", "hash", "--org", "org_none"], 3, '"org_none"'],
  ["an unknown pack", ["top-up", "settle", "none", "--bought", "--reason", "x"], 3, 'no pack "none"'],
  ["an unknown batch", ["decide", UNKNOWN_ID, "--delivered", "--reason", "x"], 3, "no batch"],
  ["a batch id that is none", ["decide", "x", "--delivered", "--reason", "x"], 3, "no batch"],
  ["a decision without its reason", ["decide", UNKNOWN_ID, "--delivered"], 2, "reason is missing"],
  ["a decision both ways", ["decide", UNKNOWN_ID, "--delivered", "--not-delivered", "--reason", "x"], 2, "--delivered or --not-delivered"],
  ["a suspension without its reason", ["org", "suspend", "org_a"], 2, "--reason"],
  ["an empty name", ["org", "suspend", "org_a", "--reason", "x", "--by", " "], 2, "--by"],
  ["nothing to set", ["org", "set", "org_a"], 2, "Nothing is to be set"],
  ["a negative amount", ["org", "set", "org_a", "--overdraft=-5"], 2, "overdraft_credits"],
  ["an amount with an exponent", ["org", "set", "org_a", "--min-credits", "1e3"], 2, "min_credits"],
  ["an amount that is no number", ["org", "set", "org_a", "--low-balance", "lots"], 2, "low_balance_credits"],
  ["a grace that is a loan", ["org", "set", "org_a", "--grace", "2h"], 2, "grace_ms"],
  ["a time without its unit", ["org", "set", "org_a", "--grace", "5"], 2, "--grace"],
  ["sessions in halves", ["org", "set", "org_a", "--max-sessions", "1.5"], 2, "--max-sessions"],
  ["an unknown plan", ["org", "set", "org_a", "--plan", "gold"], 2, "paid, trial"],
  ["an unknown state", ["org", "list", "--state", "happy"], 2, "--state"],
  ["a pack of nothing", ["top-up", "set", "org_a", "--plan", "p", "--credits", "0"], 2, "pack_credits"],
  ["a negative pack", ["top-up", "set", "org_a", "--plan", "p", "--credits=-5"], 2, "pack_credits"],
  ["a policy without its plan", ["top-up", "set", "org_a", "--credits", "5"], 2, "--plan"],
  ["a customer of another kind", ["customer", "map", "org_a", "acct_1"], 2, "cus_"],
  ["a sink that needs no mapping", ["customer", "map", "org_a", "cus_A", "--sink", "autumn"], 2, "stripe"],
  ["a key in place of its hash", ["review", "map-key", "sk-12345678901234567890", "--org", "org_a"], 2, "not the key"],
  ["an unknown reason", ["review", "list", "--reason", "tired"], 2, "no_org"],
  ["an unknown alert", ["clear-alert", "none"], 3, 'never was an alert "none"'],
  ["a limit of nothing", ["actions", "--limit", "0"], 2, "1 to 1000"],
  ["a limit that is none", ["org", "list", "--limit", "many"], 2, "1 to 1000"],
  ["a month that is none", ["retire-month", "2026-13"], 2, "2026-01"],
] as const)("%s is refused in one line and changes nothing: %j", async (_what, argv, status, reason) => {
  const before = await dump();
  const refused = await billing(...argv);
  expect([refused.status, refused.stdout]).toEqual([status, ""]);
  expect(refused.stderr).toContain(reason);
  expect(refused.stderr.trim().split("\n")).toHaveLength(1);
  expect(refused.stderr).not.toContain("sk-1234");
  expect(await dump()).toBe(before);
});

test("users 14: with --json what is wrong on the command line is JSON, too", async () => {
  const { status, stdout, stderr } = await billing("status", "--wrong", "--json");

  expect([status, stdout]).toEqual([2, ""]);
  expect(JSON.parse(stderr)).toEqual({
    error: { code: "invalid_request", message: expect.stringContaining("--wrong"), fix: "./scripts/billing --help lists what there is." },
  });
});

test.each([[[]], [["org"]], [["top-up"]]])("users 14: a group without a command, %j, prints what there is, with status 0", async (argv) => {
  const { status, stdout, stderr } = await billing(...argv);

  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(/^Usage: \.\/scripts\/billing.*\[command\]/);
});

test("users 13: who names an unknown organization is told the command as it is typed", async () => {
  expect((await billing("org", "show", "org_none")).stderr).toContain("`./scripts/billing org list`");
});

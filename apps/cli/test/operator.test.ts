import { createTestDatabase, onServer, type TestDatabase } from "@proliferate/db/test-database";
import { settle } from "@proliferate/services/settlement";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { ScriptedSink } from "@proliferate/services/test/test-sink";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CliResult } from "./cli-process.ts";
import { runInProcess } from "./in-process-cli.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const PACK_ID = "11111111-1111-4111-8111-111111111111";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
  await insertSpendRows(database.db, [{ requestId: "msg_1", spendUsd: "0.01" }]);
  await syncSpend(database.db, { rate: RATE });
});
afterEach(() => database.drop());

const run = (statement: string): Promise<void> => onServer(database.connectionString, `set search_path = llm_gateway; ${statement}`);
const billing = (...argv: readonly string[]): Promise<CliResult> =>
  runInProcess(argv, { DATABASE_URL: database.connectionString, OPERATOR_NAME: "ann" });
const json = async (...argv: readonly string[]) => JSON.parse((await billing(...argv, "--json")).stdout);
const actions = async (): Promise<readonly string[]> =>
  (await database.db.selectFrom("operator_actions").select("action").orderBy("action_id").execute()).map((row) => row.action);
async function deliver(script: ScriptedSink["script"]): Promise<string> {
  const sink = new ScriptedSink();
  sink.script = script;
  await settle(database.db, { sink });
  return (await database.db.selectFrom("settlement_batches").select("batch_id").executeTakeFirstOrThrow()).batch_id;
}

/** A batch without an answer, past the sink's memory of its key. */
async function forget(): Promise<string> {
  const batchId = await deliver(() => ({ kind: "unknown", code: "timeout" }));
  await run("update settlement_batches set first_sent_at = first_sent_at - interval '25 hours', next_attempt_at = now()");
  await deliver(() => undefined);
  return batchId;
}

/** A pack that nobody knows the fate of. */
async function forgottenPack(): Promise<string> {
  await billing("top-up", "set", "org_a", "--plan", "top_up", "--credits", "500");
  await run(`insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, state, next_attempt_at, started_at)
    values ('${PACK_ID}', 'org_a', '2026-11', 1, 'tu:1', 'top_up', 500, 'needs_review', now(), now())`);
  return PACK_ID;
}

describe("org", () => {
  test("show tells where an organization stands, list has it with the others", async () => {
    const shown = await billing("org", "show", "org_a");
    expect(shown).toMatchObject({ status: 0, stderr: "" });
    expect(shown.stdout).toMatch(/Organization org_a[^]*state +unconfigured[^]*open +3 in no batch, 0 carried[^]*shortfall +0\n/);
    expect(await json("org", "show", "org_a")).toMatchObject({
      org_id: "org_a",
      unposted_credits: "3",
      open_credits: "3",
      balance_credits: null,
      settings: null,
      top_up_policy: null,
    });
    expect((await json("org", "list")).orgs).toMatchObject([{ org_id: "org_a", state: "unconfigured" }]);
    expect((await json("org", "list", "--state", "suspended")).orgs).toEqual([]);
    expect((await billing("org", "list")).stdout).toMatch(/^organization +state[^]*\norg_a +unconfigured +unknown +3 /);
  });

  test("what rests is told by its state, and sums to what is unposted", async () => {
    await deliver(() => ({ kind: "parked", status: 404, code: "customer_not_found" }));
    expect(await json("org", "show", "org_a")).toMatchObject({
      unposted_credits: "3",
      open_credits: "0",
      parked_credits: "3",
      moving_credits: "0",
    });
    expect((await billing("status")).stdout).toMatch(/parked +3 in 1 batches: org_a 3 customer_not_found/);
  });

  test("a shortfall is shown with its organization, in status and in show, as what it is: never collected", async () => {
    await deliver(() => ({ kind: "shortfall", status: 200, deductedCredits: "1" }));
    expect((await billing("status")).stdout).toMatch(
      /shortfall +3 in 1 batches, of what was asked; not taken, and never collected: org_a 2/,
    );
    expect((await billing("org", "show", "org_a")).stdout).toMatch(
      /shortfall +2: used beyond a capped balance; on record, never collected/,
    );
  });

  test("set --mode keeps what an organization uses, once nothing is to be settled, and show says it", async () => {
    const refused = await billing("org", "set", "org_a", "--mode", "kept");
    expect(refused).toMatchObject({ status: 4 });
    expect(refused.stderr).toMatch(/1 open events/);
    await deliver(() => undefined);
    expect((await billing("org", "set", "org_a", "--mode", "kept")).stdout).toMatch(
      /state +active[^]*account +kept: what it uses stays on the ledger/,
    );
    await insertSpendRows(database.db, [{ requestId: "msg_kept", spendUsd: "0.5" }]);
    await syncSpend(database.db, { rate: RATE });
    expect((await billing("org", "show", "org_a")).stdout).toMatch(/open +0 in no batch[^]*kept +150: on the ledger, never sent/);
    expect((await billing("explain", "msg_kept")).stdout).toMatch(/Kept: it is on the ledger, and is never sent/);
    expect(await actions()).toEqual(["org.settings_changed"]);
  });

  test("payer set, list and unset say who is billed for a team", async () => {
    expect(await billing("payer", "set", "team_1", "org_typo")).toMatchObject({ status: 3 });
    expect((await billing("payer", "list")).stdout).toBe("Every team pays for itself.\n");
    expect((await billing("payer", "set", "team_1", "org_a")).stdout).toMatch(/^org_a pays for team_1 from now on, and no longer team_1/);
    expect((await billing("payer", "set", "team_1", "org_a")).stdout).toMatch(/already; nothing was changed/);
    expect((await billing("payer", "list", "--org", "org_a")).stdout).toMatch(/^team +payer +since *\nteam_1 +org_a /);
    await insertSpendRows(database.db, [{ requestId: "msg_2", orgId: "team_1", spendUsd: "0.01" }]);
    await syncSpend(database.db, { rate: RATE });
    expect(await json("explain", "msg_2")).toMatchObject({ source: { team_id: "team_1" }, events: [{ org_id: "org_a" }] });
    expect((await billing("payer", "unset", "team_1")).stdout).toMatch(/^team_1 pays for itself from now on/);
    expect(await actions()).toEqual(["team.payer_set", "team.payer_unset"]);
  });

  test("suspend, resume and set change it once, and put on record who and why", async () => {
    const suspended = await billing("org", "suspend", "org_a", "--reason", "card stolen", "--by", "ben");
    expect(suspended.stdout).toMatch(/state +suspended since .*: card stolen/);
    await billing("org", "suspend", "org_a", "--reason", "card stolen");
    expect((await billing("org", "resume", "org_a")).stdout).toMatch(/state +unconfigured/);
    expect(await billing("org", "resume", "org_a")).toMatchObject({ status: 0 });
    const set = await json(
      "org",
      "set",
      "org_a",
      "--grace",
      "10m",
      "--overdraft",
      "20.5",
      "--max-sessions",
      "3",
      "--low-balance",
      "50",
      "--plan",
      "trial",
    );
    expect(set.settings).toEqual({
      plan: "trial",
      subscribed_plan_id: null,
      trial_ends_at: null,
      grace_ms: 600_000,
      overdraft_credits: "20.5",
      min_credits: "11",
      max_sessions: 3,
      low_balance_credits: "50",
    });
    expect((await json("org", "set", "org_a", "--max-sessions", "none", "--grace", "10m")).settings).toMatchObject({
      max_sessions: null,
      plan: "trial",
    });
    expect(await actions()).toEqual(["org.suspended", "org.resumed", "org.settings_changed", "org.settings_changed"]);
    expect((await json("actions", "--org", "org_a")).actions.at(-1)).toMatchObject({
      operator: "ben",
      via: "cli",
      reason: "card stolen",
      facts: { previous_state: "unconfigured" },
    });
    expect((await json("actions")).actions[0]).toMatchObject({ operator: "ann", facts: { max_sessions: { before: 3, after: null } } });
  });

  test("one that billing does not know is set up before its first session only where that is meant", async () => {
    expect(await billing("org", "set", "org_new", "--plan", "trial")).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('"org_new"'),
    });
    expect(await billing("org", "set", "org_new", "--plan", "trial", "--create")).toMatchObject({ status: 0 });
    expect(await billing("org", "show", "org_new")).toMatchObject({ status: 0 });
  });

  test("flush asks the worker to settle at once", async () => {
    expect(await billing("org", "flush", "org_a")).toMatchObject({ status: 0 });
    expect(await database.db.selectFrom("settlement_flush_requests").select("org_id").execute()).toEqual([{ org_id: "org_a" }]);
  });
});

describe("top-up", () => {
  test("a policy is set, shown, and removed, each once", async () => {
    const set = await json(
      "top-up",
      "set",
      "org_a",
      "--plan",
      "top_up",
      "--credits",
      "500",
      "--threshold",
      "50",
      "--max-per-month",
      "4",
      "--min-interval",
      "5m",
    );
    expect(set).toMatchObject({
      enabled: true,
      plan_id: "top_up",
      pack_credits: "500",
      threshold_credits: "50",
      max_packs_per_month: 4,
      min_interval_ms: 300_000,
      breaker_until: null,
    });
    await billing(
      "top-up",
      "set",
      "org_a",
      "--plan",
      "top_up",
      "--credits",
      "500",
      "--threshold",
      "50",
      "--max-per-month",
      "4",
      "--min-interval",
      "5m",
    );
    expect((await billing("top-up", "show", "org_a")).stdout).toContain(
      "org_a: 500 credits of plan top_up when the balance is at or below 50, at most 4 a month, 5 min apart",
    );
    expect((await billing("top-up", "remove", "org_a")).stdout).toContain("is removed");
    expect((await billing("top-up", "remove", "org_a")).stdout).toContain("nothing was changed");
    expect(await actions()).toEqual(["top_up.policy_set", "top_up.policy_removed"]);
  });

  test("an open breaker is shown with its reason, and reset once", async () => {
    await billing("top-up", "set", "org_a", "--plan", "top_up", "--credits", "500");
    await run("update top_up_policies set breaker_until = now() + interval '1 day', breaker_reason = 'The card was declined.'");
    expect((await billing("top-up", "show", "org_a")).stdout).toMatch(
      /BREAKER OPEN until .* \(The card was declined\.\): billing top-up reset-breaker org_a/,
    );
    expect(await json("top-up", "reset-breaker", "org_a")).toMatchObject({ reset: true });
    expect(await json("top-up", "reset-breaker", "org_a")).toMatchObject({ reset: false });
  });

  test.each([
    ["--bought", "paid", true],
    ["--not-bought", "declined", false],
  ])(
    "a pack in needs_review is settled %s once, asks for the balance where credits came, and cannot be turned round",
    async (option, state, asks) => {
      const pack = await forgottenPack();
      expect((await billing("status")).stdout).toContain("billing top-up list --state needs_review");
      expect((await billing("top-up", "list", "--state", "needs_review")).stdout).toContain(`${pack}  org_a  needs_review`);
      expect(await billing("top-up", "remove", "org_a")).toMatchObject({
        status: 4,
        stderr: expect.stringContaining("Settle the pack first"),
      });
      expect(await json("top-up", "settle", pack, option, "--reason", "seen in Autumn")).toMatchObject({ settled: true, pack: { state } });
      expect(await json("top-up", "settle", pack, option, "--reason", "seen again")).toMatchObject({ settled: false });
      const other = option === "--bought" ? "--not-bought" : "--bought";
      expect(await billing("top-up", "settle", pack, other, "--reason", "changed my mind")).toMatchObject({
        status: 4,
        stderr: expect.stringContaining(`is ${state}: that is certain`),
      });
      const gate = await database.db.selectFrom("org_gates").select("reconcile_wanted_at").executeTakeFirstOrThrow();
      expect(gate.reconcile_wanted_at !== null).toBe(asks);
      expect(
        await database.db
          .selectFrom("webhook_events")
          .select(["type", "payload"])
          .where("type", "like", "top_up.%")
          .orderBy("created_at", "desc")
          .executeTakeFirst(),
      ).toMatchObject({ type: `top_up.${state}`, payload: { credits: "500" } });
      expect(await actions()).toEqual(["top_up.policy_set", "top_up.settled"]);
    },
  );
});

describe("decide", () => {
  test.each([
    ["--delivered", "delivered"],
    ["--not-delivered", "sealed"],
  ])("a batch past the sink's memory that a person says was %s is %s, once, with name and reason", async (option, state) => {
    const batchId = await forget();
    expect((await billing("status")).stdout).toMatch(/needs_reconcile .*org_a 3 key_forgotten.*billing decide/);
    expect(await json("decide", batchId, option, "--reason", "asked Autumn's support")).toMatchObject({
      decided: true,
      state,
      org_id: "org_a",
    });
    expect(await json("decide", batchId, option, "--reason", "again")).toMatchObject({ decided: false, state });
    expect(await database.db.selectFrom("operator_actions").select(["action", "subject", "operator", "reason", "facts"]).execute()).toEqual(
      [
        {
          action: "batch.decided",
          subject: batchId,
          operator: "ann",
          reason: "asked Autumn's support",
          facts: { was_taken: state === "delivered", credits: "3", previous_state: "unknown" },
        },
      ],
    );
    const explained = await billing("explain", batchId);
    expect(explained.stdout).toMatch(/decided by hand +.*by ann.*asked Autumn's support/);
  });

  test("one that decides itself is refused with the reason", async () => {
    const waiting = await deliver(() => ({ kind: "unknown", code: "timeout" }));
    expect(await billing("decide", waiting, "--delivered", "--reason", "looks so")).toMatchObject({
      status: 4,
      stderr: expect.stringContaining("the same key, which cannot deduct twice"),
    });
    expect(await actions()).toEqual([]);
  });

  test("what is delivered is never taken back by a word", async () => {
    const delivered = await deliver(() => undefined);
    expect(await billing("decide", delivered, "--not-delivered", "--reason", "not seen")).toMatchObject({
      status: 4,
      stderr: expect.stringContaining("billing reconcile finds it"),
    });
  });
});

describe("customer, review, month", () => {
  test("a Stripe customer is mapped once, what waited for it is due, and it pays for one organization", async () => {
    await deliver(() => ({ kind: "parked", code: "customer_not_mapped" }));
    expect(await json("customer", "map", "org_a", "cus_A1")).toMatchObject({ previous_customer_id: null, released_batches: 1 });
    expect(await json("customer", "map", "org_a", "cus_A1")).toMatchObject({ previous_customer_id: "cus_A1", released_batches: 0 });
    expect(await billing("customer", "map", "org_b", "cus_A1", "--create")).toMatchObject({
      status: 4,
      stderr: expect.stringContaining("is organization org_a already"),
    });
    expect((await billing("customer", "map", "org_a", "cus_A2")).stdout).toContain("no longer cus_A1");
    expect((await json("customer", "list")).customers).toEqual([{ sink: "stripe", org_id: "org_a", customer_id: "cus_A2" }]);
    expect(await actions()).toEqual(["org.customer_mapped", "org.customer_mapped"]);
  });

  test("rows in review are listed, and billed by the owner of their key", async () => {
    await insertSpendRows(database.db, [
      { requestId: "msg_2", orgId: "", sessionId: "nobody", spendUsd: "0.0000266" },
      { requestId: "msg_3", orgId: null, sessionId: "nobody", spendUsd: "0.1" },
    ]);
    await syncSpend(database.db, { rate: RATE });
    const listed = await billing("review", "list", "--reason", "no_org");
    expect(listed.stdout).toMatch(/^review +state[^]*id:msg_2 +open +no_org +\$0\.0000266 [^]*hash_of_a_key/);
    expect((await json("review", "list", "--limit", "1")).next_cursor).toBe((await json("review", "list")).reviews[0].review_key);
    await billing("rate-card", "add", "--markup", "3", "--from", "2020-01-01");
    expect(await json("review", "map-key", "hash_of_a_key", "--org", "org_a")).toMatchObject({ billed_reviews: 2 });
    expect(await json("review", "map-key", "hash_of_a_key", "--org", "org_a")).toMatchObject({ billed_reviews: 0 });
    expect((await json("review", "list")).reviews).toEqual([]);
    expect((await json("review", "list", "--all")).reviews).toHaveLength(2);
    expect(await actions()).toEqual(["rate_card.added", "key.mapped", "review.billed", "review.billed"]);
  });

  test("reprice only tells what it would change, and with --apply and a reason corrects it on record", async () => {
    const usage = { input_tokens: 1_000, cache_read_input_tokens: 10_000, output_tokens: 500, speed: "fast" };
    const metadata = {
      estimated: false,
      model_map_information: { model_map_key: "anthropic/claude-opus-5-5" },
      provider_usage: { model: "claude-opus-5-5", has_content: true, usage },
    };
    await onServer(
      database.connectionString,
      `update litellm."LiteLLM_SpendLogs" set spend = 0.016, model = 'anthropic/claude-opus-5-5', custom_llm_provider = 'anthropic', request_tags = '[]', metadata = '${JSON.stringify(metadata)}'`,
    );

    expect(await billing("reprice", "--from", "2026-01-01")).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(
        /^Dry run: nothing is changed. 1 rows would be corrected, by \$0.016 in all[^]*msg_1 +anthropic\/claude-opus-5-5 +\$0.016 +\$0.032/,
      ),
    });
    expect(await billing("reprice", "--from", "2026-01-01", "--apply")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("reason"),
    });
    expect(await json("reprice", "--from", "2026-01-01", "--apply", "--reason", "fast mode")).toMatchObject({
      dry_run: false,
      changed: [{ request_id: "msg_1", after_usd: "0.032" }],
      difference_usd: "0.016",
    });
    expect(await json("reprice", "--from", "2026-01-01", "--apply", "--reason", "fast mode")).toMatchObject({ changed: [], unchanged: 1 });
    expect(await actions()).toEqual(["row.repriced"]);
  });

  test("retire-month only tells what it would do, and what refuses", async () => {
    const month = new Date().toISOString().slice(0, 7);
    expect(await billing("retire-month", month)).toMatchObject({
      status: 4,
      stdout: expect.stringMatching(/it is not over; 1 of its events are in no batch/),
    });
    expect(await billing("retire-month", month, "--apply")).toMatchObject({ status: 4, stdout: "" });
    expect(await billing("retire-month", "1999-01")).toMatchObject({ status: 4, stdout: expect.stringContaining("no partition") });
  });
});

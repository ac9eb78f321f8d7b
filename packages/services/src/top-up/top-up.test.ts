import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { createAutumnBalances } from "../balance/autumn-balances.ts";
import { reconcileBalance } from "../balance/reconcile-balance.ts";
import { balanceOf, insertSpend, RATE } from "../../test/test-balances.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { readGate } from "../billing-gate/db.ts";
import { createAutumnTopUpProvider } from "./autumn-top-up.ts";
import { readPacks, type TopUpPolicy } from "./db.ts";
import { resetTopUpBreaker, setTopUpPolicy } from "./policy.ts";
import { topUpDueOrgs, type TopUpOptions } from "./top-up.ts";

let database: TestDatabase;
let autumn: AutumnEmulator;
let org = 0;
let orgId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  autumn = await startAutumnEmulator();
});
/** A new org with 30 credits that are all used. */
beforeEach(async () => {
  orgId = `org_${(org += 1)}`;
  autumn.grant(orgId, "30");
  await reconcile();
  await insertSpend(database.db, { orgId, usd: "0.2" });
  await syncSpend(database.db, { rate: RATE });
});
afterAll(async () => {
  await database.drop();
  await autumn.stop();
});

const settings = () => ({ secretKey: "am_sk_test", serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits", timeoutMs: 1_000 });
const reconcile = () => reconcileBalance(database.db, orgId, { remote: createAutumnBalances(settings()), rate: RATE, trigger: "top_up" });
const charges = () => autumn.calls.filter((call) => call.path === "/v1/billing.attach" && call.customerId === orgId);

async function policy(change: Partial<TopUpPolicy> = {}): Promise<void> {
  await setTopUpPolicy(database.db, orgId, { planId: "top_up", packCredits: "500", minIntervalMs: 0, ...change });
}

/** One pass, for this test's org alone. */
async function pass(options: Partial<TopUpOptions> = {}): Promise<Awaited<ReturnType<typeof topUpDueOrgs>>> {
  await sql`update top_up_policies set enabled = false where org_id <> ${orgId}`.execute(database.db);
  await sql`update top_ups set next_attempt_at = billing_now() where org_id = ${orgId}`.execute(database.db);
  return topUpDueOrgs(database.db, { provider: createAutumnTopUpProvider(settings()), reconcile, leaseMs: 1, ...options });
}

const states = async (): Promise<readonly string[]> => (await readPacks(database.db, { orgId: orgId, limit: 100 })).map((row) => row.state);

test("an org at its threshold buys a pack, and its credits come in by a reconciliation", async () => {
  await policy();
  expect(await pass()).toEqual({ paid: 1, declined: 0, unsettled: 0 });
  expect(await balanceOf(database.db, orgId)).toBe("470");
  expect((await readGate(database.db, orgId))?.state).toBe("active");
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
  expect(charges()).toMatchObject([
    { body: { plan_id: "top_up", redirect_mode: "never", feature_quantities: [{ feature_id: "credits", quantity: 500 }] } },
  ]);
});

test("nothing is bought without a policy, above the threshold, or with the policy switched off", async () => {
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
  await policy({ thresholdCredits: "-31" });
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
  await policy({ enabled: false });
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
  expect(charges()).toEqual([]);
});

test("a pack that no JSON number spells is not ordered as another one", async () => {
  await policy({ packCredits: "1000000000000.12345" });
  expect(await pass()).toEqual({ paid: 0, declined: 1, unsettled: 0 });
  expect(charges()).toEqual([]);
});

test("credits that came in meanwhile are seen before anything is bought", async () => {
  await policy();
  autumn.grant(orgId, "1000");
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
  expect(charges()).toEqual([]);
});

test.each(["declined", "absent"] as const)(
  "defect 10 declined card, free credits: a card that is %s brings no credits, counts no pack and opens the breaker",
  async (card) => {
    await policy({ maxPacksPerMonth: 1 });
    autumn.setCard(orgId, card);
    expect(await pass()).toEqual({ paid: 0, declined: 1, unsettled: 0 });
    expect(await balanceOf(database.db, orgId)).toBe("-30");
    expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
    expect(charges()).toHaveLength(1);

    // The only pack of the month is still to be had: the declined one was none.
    autumn.setCard(orgId, "good");
    await resetTopUpBreaker(database.db, orgId);
    expect(await pass()).toEqual({ paid: 1, declined: 0, unsettled: 0 });
  },
);

test("defect 11 breaker never resets: it closes with its time", async () => {
  await policy();
  autumn.setCard(orgId, "declined");
  await pass();
  autumn.setCard(orgId, "good");
  await sql`update top_up_policies set breaker_until = billing_now() where org_id = ${orgId}`.execute(database.db);
  expect(await pass()).toMatchObject({ paid: 1 });
});

test("defect 11 breaker never resets: it closes with a new month", async () => {
  await policy();
  await sql`
    insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, state, next_attempt_at, started_at, finished_at)
    values (gen_random_uuid(), ${orgId}, '2001-01', 1, ${`declined_${orgId}`}, 'top_up', 500, 'declined', now(), now() - interval '1 hour', now() - interval '1 hour')`.execute(
    database.db,
  );
  await sql`update top_up_policies set breaker_until = now() + interval '20 hours' where org_id = ${orgId}`.execute(database.db);
  expect(await pass()).toMatchObject({ paid: 1 });
});

test("the cap of the month and the pause between packs hold", async () => {
  await policy({ packCredits: "5", maxPacksPerMonth: 2, minIntervalMs: 3_600_000 });
  expect(await pass()).toMatchObject({ paid: 1 });
  expect(await pass()).toMatchObject({ paid: 0 });
  await policy({ packCredits: "5", maxPacksPerMonth: 2 });
  expect(await pass()).toMatchObject({ paid: 1 });
  expect(await pass()).toMatchObject({ paid: 0 });
  expect(charges()).toHaveLength(2);
});

test("a charge whose answer is lost is confirmed by what Autumn grants, and bought once", async () => {
  await policy();
  autumn.failNext({ kind: "reset_after_apply" });
  expect(await pass()).toEqual({ paid: 1, declined: 0, unsettled: 0 });
  expect(await balanceOf(database.db, orgId)).toBe("470");
  expect(autumn.remaining(orgId)).toBe("530");
});

test("a charge that died before it was made stays unknown: its key is used up, and nothing is bought in its place", async () => {
  await policy();
  autumn.failNext({ kind: "reset_before_apply" });
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 1 });
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 1 });
  expect(new Set(charges().map((call) => call.idempotencyKey)).size).toBe(1);

  await sql`update top_ups set first_sent_at = billing_now() - interval '24 hours' where org_id = ${orgId}`.execute(database.db);
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 0 });
  expect(await states()).toEqual(["needs_review"]);
});

test("a refusal for the rate of calls is tried again with the same key and bought once", async () => {
  await policy();
  autumn.failNext({ kind: "status", status: 429, code: "rate_limit_exceeded" });
  expect(await pass()).toEqual({ paid: 0, declined: 0, unsettled: 1 });
  expect(await pass()).toEqual({ paid: 1, declined: 0, unsettled: 0 });
  expect(new Set(charges().map((call) => call.idempotencyKey)).size).toBe(1);
});

test.each(["planned", "claimed", "answered", "recorded"] as const)(
  "a worker that dies when the pack is %s is followed by one that finishes it, and the pack is bought once",
  async (at) => {
    await policy();
    const crash = (step: string): void => {
      if (step === at) throw new Error("crash");
    };
    await expect(pass({ onStep: crash })).rejects.toThrow("crash");
    await pass();
    await reconcile();
    expect(await states()).toEqual(["paid"]);
    expect(await balanceOf(database.db, orgId)).toBe("470");
    expect(autumn.remaining(orgId)).toBe("530");
  },
);

test("three workers at once buy one pack", async () => {
  await policy();
  await Promise.all([pass({ leaseMs: 60_000 }), pass({ leaseMs: 60_000 }), pass({ leaseMs: 60_000 })]);
  expect(await states()).toEqual(["paid"]);
  expect(autumn.remaining(orgId)).toBe("530");
});

test("defect 24 transaction across the charge: while Autumn is being asked, the org's rows are free", async () => {
  await policy();
  const provider = createAutumnTopUpProvider(settings());
  const wasFree: boolean[] = [];
  await pass({
    provider: {
      charge: async (charge) => {
        const idle = await sql<{ count: string }>`
          select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`.execute(
          database.db,
        );
        wasFree.push(idle.rows[0]?.count === "0");
        await sql`select 1 from top_up_policies p join org_gates g using (org_id) join billing_accounts a using (org_id) where org_id = ${orgId} for update of p, g, a nowait`.execute(
          database.db,
        );
        return provider.charge(charge);
      },
    },
  });
  expect(wasFree).toEqual([true]);
});

test.each([
  [{ packCredits: "0" }, "pack_credits"],
  [{ packCredits: "much" }, "pack_credits"],
  [{ thresholdCredits: "low" }, "threshold_credits"],
  [{ planId: "" }, "plan_id"],
])("a policy with %j is refused by name", async (change, param) => {
  await expect(policy(change)).rejects.toMatchObject({ code: "invalid_request", param });
});

import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { AppError } from "@proliferate/shared/errors";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { sealOpenEvents, settle } from "../settlement/settlement.ts";
import type { SettlementSink } from "../sinks/port/sink.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { readGate } from "../billing-gate/db.ts";
import { changeOrgSettings } from "../billing-gate/settings.ts";
import { listOrgsToReconcile, readReconciliations } from "./db.ts";
import { reconcileBalances, reconcileDueOrgs, requestReconcile } from "./reconcile-balance.ts";
import { balanceOf, insertSpend, RATE, ScriptedBalances, spend } from "../../test/test-balances.ts";

let database: TestDatabase;
let remote: ScriptedBalances;
let org = 0;
/** A new org each test: the ledger is never emptied. */
let orgId: string;

beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(() => {
  remote = new ScriptedBalances();
  orgId = `org_${(org += 1)}`;
});
afterAll(() => database.drop());

const crash = (): never => {
  throw new Error("crash");
};

/** Takes what is delivered from the scripted balance; `answer` decides what the outbox is told. */
function sinkOf(balances: ScriptedBalances, answer: "delivered" | "lost" | "parked"): SettlementSink {
  return {
    name: "scripted",
    deliver: async (delivery) => {
      if (answer === "parked") return { kind: "parked", code: "customer_not_found" };
      balances.take(delivery.orgId, delivery.credits);
      return answer === "lost" ? { kind: "unknown", code: "timeout" } : { kind: "delivered", deductedCredits: delivery.credits };
    },
  };
}

const reconcileOptions = () => ({ remote, rate: RATE });

test("an org's first balance is what the sink says, and it is on record", async () => {
  remote.grant(orgId, "1000");

  expect(await remote.reconcile(database.db, orgId, "first_sight")).toMatchObject({
    outcome: "reconciled",
    cause: "first_sight",
    afterCredits: "1000",
  });

  expect(await balanceOf(database.db, orgId)).toBe("1000");
  expect((await readGate(database.db, orgId))?.state).toBe("active");
  expect(await readReconciliations(database.db, orgId, 10)).toMatchObject([
    { trigger: "first_sight", cause: "first_sight", after_credits: "1000" },
  ]);
});

test("usage is taken from the balance in the transaction that puts it on the ledger", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);

  await spend(database.db, { orgId, usd: "0.123456" });

  expect(await balanceOf(database.db, orgId)).toBe("962.9632");
});

test("defect 08 double charge after a crash: there is no compute here, and usage is named by its request, not by when it was read, so a pass that dies and is repeated takes nothing twice", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  await insertSpend(database.db, { orgId, usd: "0.1" });
  await expect(syncSpend(database.db, { rate: RATE, onStep: crash })).rejects.toThrow("crash");
  await Promise.all([syncSpend(database.db, { rate: RATE }), syncSpend(database.db, { rate: RATE })]);

  expect(await balanceOf(database.db, orgId)).toBe("970");
});

test("defect 09 reconcile erases pending usage: what was not delivered yet stays subtracted, open, sealed or parked", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "0.1" });
  await settle(database.db, { sink: sinkOf(remote, "parked") });
  await spend(database.db, { orgId, usd: "0.2" });
  await sealOpenEvents(database.db);
  await spend(database.db, { orgId, usd: "0.3" });

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({
    cause: "agrees",
    driftCredits: "0",
    remoteCredits: "1000",
    unpostedCredits: "180",
  });

  expect(await balanceOf(database.db, orgId)).toBe("820");
});

test("defect 09 reconcile erases pending usage: it moves the state as well, so bought credits free an exhausted org", async () => {
  remote.grant(orgId, "30");
  await remote.reconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "2" });
  await remote.reconcile(database.db, orgId);
  expect((await readGate(database.db, orgId))?.state).toBe("exhausted");

  remote.grant(orgId, "1000");
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({
    cause: "grant",
    grantCredits: "1000",
    driftCredits: "0",
    afterCredits: "430",
  });

  expect((await readGate(database.db, orgId))?.state).toBe("active");
});

test("a batch whose answer was lost may or may not be in the remote figure, and is no drift either way", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "0.1" });
  await settle(database.db, { sink: sinkOf(remote, "lost") });

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees", remoteCredits: "970", uncertainCredits: "30" });

  expect(await balanceOf(database.db, orgId)).toBe("970");
});

test("a delivery and new usage while the sink is being asked are no drift", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "0.1" });
  remote.during = async () => {
    await settle(database.db, { sink: sinkOf(remote, "delivered") });
    await spend(database.db, { orgId, usd: "0.2" });
  };

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees", driftCredits: "0" });

  expect(await balanceOf(database.db, orgId)).toBe("910");
});

test("seed 8837: a delivery while the sink is being asked is no drift, also when the database's clock is set back meanwhile", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "0.1" });
  remote.during = async () => {
    await settle(database.db, { sink: sinkOf(remote, "delivered") });
    await sql`update settlement_batches set delivered_at = billing_now() - interval '1 hour' where org_id = ${orgId}`.execute(database.db);
  };

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees", remoteCredits: "1000", uncertainCredits: "30" });
  expect(await balanceOf(database.db, orgId)).toBe("970");
});

test("a planted drift is found to its exact size, named, put right once and told to the webhook", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  remote.take(orgId, "12.5");

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({
    cause: "sink_took_more",
    driftCredits: "12.5",
    severity: "warn",
    afterCredits: "987.5",
  });
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees" });

  const events = await database.db
    .selectFrom("webhook_events")
    .select(["type", "payload"])
    .where("org_id", "=", orgId)
    .where("type", "=", "balance.drift")
    .execute();
  expect(events).toMatchObject([{ payload: { drift_credits: "12.5", severity: "warn", cause: "sink_took_more" } }]);
});

test("a dry run says the same and writes nothing", async () => {
  remote.grant(orgId, "1000");
  await remote.reconcile(database.db, orgId);
  remote.take(orgId, "700");

  const [preview] = await reconcileBalances(database.db, { ...reconcileOptions(), orgId, dryRun: true });

  expect(preview).toMatchObject({ cause: "sink_took_more", driftCredits: "700", severity: "critical" });
  expect(await balanceOf(database.db, orgId)).toBe("1000");
  expect(await readReconciliations(database.db, orgId, 10)).toHaveLength(1);
});

test("an org that the sink does not know stays unconfigured, with the reason", async () => {
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ outcome: "unknown" });

  expect(await readGate(database.db, orgId)).toMatchObject({
    state: "unconfigured",
    balance_credits: null,
    reconcile_problem: "Autumn does not know this customer",
  });
});

test("defect 19 fast reconcile jams: a request whose reading fails is served later, again and again, and holds up no other org", async () => {
  const other = `${orgId}_other`;
  remote.grant(orgId, "1000");
  remote.grant(other, "1000");
  await remote.reconcile(database.db, orgId);
  await remote.reconcile(database.db, other);
  const due = async (): Promise<readonly string[]> =>
    (await listOrgsToReconcile(database.db, { limit: 100, everyMs: 86_400_000, outOfCreditsMs: 60_000 }))
      .map((row) => row.org_id)
      .filter((id) => id.startsWith(orgId));
  for (let round = 0; round < 3; round += 1) {
    await requestReconcile(database.db, orgId);
    remote.failure = new AppError("autumn_unavailable", "down");
    await reconcileDueOrgs(database.db, reconcileOptions());
    expect(await due()).toEqual([]);
    await requestReconcile(database.db, other);
    expect(await due()).toEqual([other]);
    remote.failure = undefined;
    await reconcileDueOrgs(database.db, reconcileOptions());

    // The wait after a failure ends; asking again ends it as well.
    await sql`update org_gates set reconcile_retry_at = billing_now() where org_id = ${orgId}`.execute(database.db);
    expect(await due()).toEqual([orgId]);
    await reconcileDueOrgs(database.db, reconcileOptions());
    expect(await due()).toEqual([]);
  }
});

test("an org out of credits is asked about every minute, another once a day", async () => {
  remote.grant(orgId, "10");
  await remote.reconcile(database.db, orgId);
  await sql`update org_gates set reconciled_at = billing_now() - interval '2 minutes' where org_id = ${orgId}`.execute(database.db);
  const isDue = async (): Promise<boolean> =>
    (await listOrgsToReconcile(database.db, { limit: 100, everyMs: 86_400_000, outOfCreditsMs: 60_000 })).some(
      (row) => row.org_id === orgId,
    );
  expect(await isDue()).toBe(false);

  await insertSpend(database.db, { orgId, usd: "0.1" });
  await spend(database.db, { orgId, usd: "0.1" });
  expect(await isDue()).toBe(true);
});

test("code 04: a slow reading that ends after a later one was booked does not take a bought pack away", async () => {
  remote.grant(orgId, "100");
  await remote.reconcile(database.db, orgId);
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  remote.during = () => {
    asked.resolve();
    return answer.promise;
  };
  const slow = remote.reconcile(database.db, orgId);
  await asked.promise;
  remote.grant(orgId, "1000");
  expect(await remote.reconcile(database.db, orgId, "top_up")).toMatchObject({ cause: "grant", afterCredits: "1100" });
  answer.resolve();

  expect(await slow).toMatchObject({ outcome: "outdated" });

  expect(await balanceOf(database.db, orgId)).toBe("1100");
  expect((await readGate(database.db, orgId))?.remote_granted_credits).toBe("1100");
  // What the dropped reading may have seen is not lost: another one is due at once.
  expect(
    (await listOrgsToReconcile(database.db, { limit: 1_000, everyMs: 86_400_000, outOfCreditsMs: 60_000 })).map((row) => row.org_id),
  ).toContain(orgId);
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees" });
});

test("autumn M3: credits that come after an overdraft are a grant and a forgiven debt, told to nobody as drift, and named once", async () => {
  remote.grant(orgId, "50");
  await remote.reconcile(database.db, orgId);
  await spend(database.db, { orgId, usd: "0.28" });
  await settle(database.db, { sink: sinkOf(remote, "delivered") });
  expect(await balanceOf(database.db, orgId)).toBe("-34");
  remote.grant(orgId, "100");
  remote.forgive(orgId, "34");

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({
    cause: "debt_forgiven",
    grantCredits: "100",
    forgivenCredits: "34",
    driftCredits: "0",
    severity: "none",
    afterCredits: "100",
  });
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees" });

  expect((await readReconciliations(database.db, orgId, 1))[0]).toMatchObject({ cause: "debt_forgiven", forgiven_credits: "34" });
  expect(
    await database.db.selectFrom("webhook_events").select("type").where("org_id", "=", orgId).where("type", "=", "balance.drift").execute(),
  ).toEqual([]);
});

test("autumn L: a first reading with a batch under way is looked at again a minute later, and what was taken off to be sure comes back without drift", async () => {
  remote.grant(orgId, "100");
  await spend(database.db, { orgId, usd: "0.01" });
  await settle(database.db, { sink: sinkOf(remote, "lost") });
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({
    cause: "first_sight",
    remoteCredits: "97",
    uncertainCredits: "3",
    afterCredits: "94",
  });
  expect(await readGate(database.db, orgId)).toMatchObject({ reconcile_wanted_at: expect.any(Date), reconcile_retry_at: expect.any(Date) });
  await sql`update settlement_batches set state = 'delivered', delivered_at = billing_now() - interval '1 hour', deducted_credits = credits where org_id = ${orgId}`.execute(
    database.db,
  );

  expect(await remote.reconcile(database.db, orgId)).toMatchObject({
    cause: "first_sight",
    grantCredits: "3",
    driftCredits: "0",
    severity: "none",
    afterCredits: "97",
  });

  expect(await readGate(database.db, orgId)).toMatchObject({ reconcile_wanted_at: null });
  expect(await remote.reconcile(database.db, orgId)).toMatchObject({ cause: "agrees" });
});

test("autumn fresh eyes 4: the plan comes from the subscription, on trial until the trial ends, and cannot be set by hand then", async () => {
  remote.grant(orgId, "100");
  const inAnHour = new Date(Date.now() + 3_600_000);
  remote.subscriptions.set(orgId, { planId: "pro", trialEndsAt: inAnHour });
  await remote.reconcile(database.db, orgId);
  expect(await readGate(database.db, orgId)).toMatchObject({
    plan: "trial",
    state: "trial",
    remote_plan_id: "pro",
    remote_trial_ends_at: inAnHour,
  });
  await expect(changeOrgSettings(database.db, orgId, { plan: "paid" })).rejects.toMatchObject({
    code: "invalid_request",
    param: "plan",
    message: expect.stringContaining('subscription to "pro"'),
  });

  // The trial's end passes: the org is due at once, and Autumn says that it pays.
  await sql`update org_gates set reconciled_at = billing_now() - interval '2 hours', remote_trial_ends_at = billing_now() - interval '1 hour' where org_id = ${orgId}`.execute(
    database.db,
  );
  expect(
    (await listOrgsToReconcile(database.db, { limit: 1_000, everyMs: 86_400_000, outOfCreditsMs: 60_000 })).map((row) => row.org_id),
  ).toContain(orgId);
  remote.subscriptions.set(orgId, { planId: "pro", trialEndsAt: null });
  await remote.reconcile(database.db, orgId);
  expect(await readGate(database.db, orgId)).toMatchObject({ plan: "paid", state: "active", remote_trial_ends_at: null });

  // Without a subscription a person decides, and a reading leaves that alone.
  remote.subscriptions.delete(orgId);
  await remote.reconcile(database.db, orgId);
  await changeOrgSettings(database.db, orgId, { plan: "trial" });
  await remote.reconcile(database.db, orgId);
  expect(await readGate(database.db, orgId)).toMatchObject({ plan: "trial", state: "trial", remote_plan_id: null });
});

test("autumn B3: an org whose reading no row can hold fails alone; the others of the pass are read", async () => {
  const others = [`${orgId}_a`, `${orgId}_z`];
  for (const id of [orgId, ...others]) {
    remote.grant(id, "100");
    await requestReconcile(database.db, id);
  }
  remote.subscriptions.set(orgId, { planId: "pro\u0000", trialEndsAt: null });
  const reports: string[] = [];

  await reconcileDueOrgs(database.db, { ...reconcileOptions(), onReport: (report) => reports.push(`${report.orgId} ${report.outcome}`) });

  expect(reports).toEqual(expect.arrayContaining([`${orgId} failed`, ...others.map((id) => `${id} reconciled`)]));
  expect(
    (await listOrgsToReconcile(database.db, { limit: 1_000, everyMs: 86_400_000, outOfCreditsMs: 86_400_000 })).map((due) => due.org_id),
  ).not.toContain(orgId);
});

/** Whether an org that waits for this reason, and then is granted this much, waits on after a reading. */
async function waitsOn(errorCode: string, credits: string): Promise<boolean> {
  orgId = `org_${(org += 1)}`;
  await remote.reconcile(database.db, orgId);
  await sql`insert into settlement_org_backoff (org_id, failure_count, retry_at, error_code) values (${orgId}, 6, billing_now() + interval '15 minutes', ${errorCode})`.execute(
    database.db,
  );
  remote.grant(orgId, credits);
  await remote.reconcile(database.db, orgId);
  const { rows } = await sql<{
    waits: boolean;
  }>`select retry_at > billing_now() as waits from settlement_org_backoff where org_id = ${orgId}`.execute(database.db);
  return rows[0]?.waits ?? false;
}

test("autumn H3: a reading that shows a balance ends the org's wait for one, and no other wait", async () => {
  expect(await waitsOn("no_balance", "100")).toBe(false);
  expect(await waitsOn("no_balance", "0")).toBe(true);
  expect(await waitsOn("customer_not_found", "100")).toBe(true);
});

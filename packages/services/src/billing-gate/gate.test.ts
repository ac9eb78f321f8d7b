import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { isAppError } from "@proliferate/shared/errors";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ScriptedBalances, spend } from "../../test/test-balances.ts";
import { admitSession } from "../key-budgets/admission.ts";
import { listOrgsNearZero, readGate } from "./db.ts";
import { type BillingOperation, checkBillingGate, moveDueOrgs } from "./gate.ts";
import { changeOrgSettings, resumeOrg, suspendOrg } from "./settings.ts";

let database: TestDatabase;
let remote: ScriptedBalances;
let org = 0;
let orgId: string;

beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(() => {
  remote = new ScriptedBalances();
  orgId = `org_${(org += 1)}`;
});
afterAll(() => database.drop());

async function grant(credits: string): Promise<void> {
  remote.grant(orgId, credits);
  await remote.reconcile(database.db, orgId);
}

/** `pass`, or the code of the refusal. */
async function ask(operation: BillingOperation = "session_start"): Promise<string> {
  return checkBillingGate(database.db, orgId, operation).then(
    () => "pass",
    (error: unknown) => (isAppError(error) ? error.code : String(error)),
  );
}

async function toldEvents(): Promise<readonly string[]> {
  const rows = await database.db.selectFrom("webhook_events").select("type").where("org_id", "=", orgId).orderBy("created_at").execute();
  return rows.map((row) => row.type);
}

const passGrace = () => sql`update org_gates set grace_until = billing_now() where org_id = ${orgId}`.execute(database.db);

test("an org that was never seen is refused, and is on record for the worker to ask about", async () => {
  expect(await ask()).toBe("billing_not_configured");
  expect(await readGate(database.db, orgId)).toMatchObject({ state: "unconfigured", reconciled_at: null });
});

test("an org that Autumn does not know is refused with what has to be done", async () => {
  await remote.reconcile(database.db, orgId);
  await expect(checkBillingGate(database.db, orgId, "session_start")).rejects.toThrow("Autumn does not know this customer");
});

test("credits let every operation pass", async () => {
  await grant("1000");
  const operations: readonly BillingOperation[] = ["session_start", "session_resume", "cli_connect", "automation_trigger"];
  for (const operation of operations) expect(await ask(operation)).toBe("pass");
});

test("below the minimum nothing begins, at the minimum it does", async () => {
  await grant("11");
  expect(await ask()).toBe("pass");
  await spend(database.db, { orgId, usd: "0.0000001" });
  expect([await ask(), await ask("session_resume")]).toEqual(["no_credits", "no_credits"]);
});

test("at zero work that runs goes on for the grace period, new work is refused, and afterwards both are", async () => {
  await grant("30");
  await spend(database.db, { orgId, usd: "0.1" });

  expect([await ask("session_start"), await ask("automation_trigger"), await ask("session_resume"), await ask("cli_connect")]).toEqual([
    "no_credits",
    "no_credits",
    "pass",
    "pass",
  ]);
  await passGrace();
  expect([await ask("session_resume"), await ask("session_start")]).toEqual(["grace_expired", "grace_expired"]);
  expect(await readGate(database.db, orgId)).toMatchObject({ state: "exhausted", exhausted_by: "grace", grace_until: null });
});

test("the overdraft ends grace before its time", async () => {
  await grant("30");
  await spend(database.db, { orgId, usd: "0.1" });
  expect(await ask("cli_connect")).toBe("pass");
  await spend(database.db, { orgId, usd: "1.6666666667" });
  expect(await ask("cli_connect")).toBe("no_credits");
  expect(await readGate(database.db, orgId)).toMatchObject({ state: "exhausted", exhausted_by: "overdraft" });
});

test("a trial ends at zero, without grace", async () => {
  await changeOrgSettings(database.db, orgId, { plan: "trial" });
  await grant("30");
  await spend(database.db, { orgId, usd: "0.1" });
  expect(await ask("session_resume")).toBe("no_credits");
});

test("a suspended org is refused with the reason until it is resumed; then its balance decides", async () => {
  await grant("1000");
  await suspendOrg(database.db, orgId, "unpaid invoice");
  await expect(checkBillingGate(database.db, orgId, "cli_connect")).rejects.toThrow("is suspended: unpaid invoice.");
  expect((await resumeOrg(database.db, orgId)).state).toBe("active");
  expect(await ask()).toBe("pass");
});

test("resuming is no second grace", async () => {
  await grant("30");
  await spend(database.db, { orgId, usd: "0.2" });
  await suspendOrg(database.db, orgId, "abuse");
  expect((await resumeOrg(database.db, orgId)).state).toBe("exhausted");
});

test("a full house refuses a further session, and one that comes back, but not a connection", async () => {
  await grant("1000");
  await changeOrgSettings(database.db, orgId, { maxSessions: 1 });
  await admitSession(database.db, { orgId, sessionId: `${orgId}_a`, keyGeneration: 1, operation: "session_start" });
  expect([await ask("session_start"), await ask("automation_trigger"), await ask("session_resume"), await ask("cli_connect")]).toEqual([
    "concurrent_session_limit",
    "concurrent_session_limit",
    "concurrent_session_limit",
    "pass",
  ]);
});

test("sessions F7: a limit on live sessions holds for paused ones that come back, however many at once, and not for one that is live already", async () => {
  await grant("1000");
  await changeOrgSettings(database.db, orgId, { maxSessions: 2 });
  await admitSession(database.db, { orgId, sessionId: "live", keyGeneration: 1, operation: "session_start", limitUsd: "0.01" });
  const resumes = await Promise.allSettled(
    ["a", "b", "c", "d"].map((name) =>
      admitSession(database.db, { orgId, sessionId: `${orgId}_${name}`, keyGeneration: 2, operation: "session_resume", limitUsd: "0.01" }),
    ),
  );
  const again = await admitSession(database.db, {
    orgId,
    sessionId: "live",
    keyGeneration: 2,
    operation: "session_resume",
    limitUsd: "0.01",
  });

  expect(
    resumes.map((resume) => (resume.status === "fulfilled" ? "pass" : isAppError(resume.reason) && resume.reason.code)).sort(),
  ).toEqual(["concurrent_session_limit", "concurrent_session_limit", "concurrent_session_limit", "pass"]);
  expect(Number(again)).toBe(0.01);
});

test("the gate fails closed: a database that fails refuses", async () => {
  await grant("1000");
  const broken = database.db.withPlugin({
    transformQuery: () => {
      throw new Error("the database is down");
    },
    transformResult: async ({ result }) => result,
  });
  await expect(checkBillingGate(broken, orgId, "session_start")).rejects.toThrow("the database is down");
});

test("each crossing is told once: low, grace, exhausted, restored", async () => {
  await grant("150");
  await spend(database.db, { orgId, usd: "0.3" });
  await moveDueOrgs(database.db);
  await moveDueOrgs(database.db);
  expect(await toldEvents()).toEqual(["balance.low"]);
  await spend(database.db, { orgId, usd: "0.3" });
  await moveDueOrgs(database.db);
  await passGrace();
  await moveDueOrgs(database.db);
  await moveDueOrgs(database.db);
  expect(await toldEvents()).toEqual(["balance.low", "balance.grace_started", "balance.exhausted"]);
  await grant("1000");
  expect(await toldEvents()).toEqual(["balance.low", "balance.grace_started", "balance.exhausted", "balance.restored"]);
});

test("orgs near zero are listed for an early settlement", async () => {
  await grant("99");
  expect(await listOrgsNearZero(database.db)).toContain(orgId);
  await grant("100");
  expect(await listOrgsNearZero(database.db)).not.toContain(orgId);
});

test.each([
  [{ graceMs: 3_600_001 }, "grace_ms"],
  [{ maxSessions: -1 }, "max_sessions"],
  [{ overdraftCredits: "-1" }, "overdraft_credits"],
  [{ minCredits: "many" }, "min_credits"],
] as const)("settings %j are refused by name and change nothing", async (settings, param) => {
  await grant("1000");
  const before = await readGate(database.db, orgId);
  await expect(changeOrgSettings(database.db, orgId, settings)).rejects.toMatchObject({ code: "invalid_request", param });
  expect(await readGate(database.db, orgId)).toEqual(before);
});

test("users 16: what an organization must have to begin is bounded, so that one digit too many locks nobody out", async () => {
  await grant("500");

  await expect(changeOrgSettings(database.db, orgId, { minCredits: "1000000.000001" })).rejects.toMatchObject({
    code: "invalid_request",
    param: "min_credits",
  });
  await expect(changeOrgSettings(database.db, orgId, { minCredits: "1000000" })).resolves.toMatchObject({ org_id: orgId });
});

test("users 16: callers are told the first words of why an organization is suspended, on one line; the record keeps them all", async () => {
  await grant("500");
  const reason = `unpaid invoice\nof March ${"x".repeat(500)}`;
  await suspendOrg(database.db, orgId, reason);

  const refusal: unknown = await checkBillingGate(database.db, orgId, "session_start").catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "billing_state_blocked", message: expect.stringContaining("unpaid invoice of March x") });
  expect((refusal as Error).message.length).toBeLessThan(250);
  expect((await readGate(database.db, orgId))?.suspended_reason).toBe(reason);
});

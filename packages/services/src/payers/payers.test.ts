import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { auditCompleteness } from "../billing/audit.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { lockGate } from "../billing-gate/db.ts";
import { checkBillingGate } from "../billing-gate/gate.ts";
import { changeOrgSettings, suspendOrg } from "../billing-gate/settings.ts";
import { writeAllRates } from "../balance/db.ts";
import { admitSession } from "../key-budgets/admission.ts";
import { readReservations } from "../key-budgets/db.ts";
import { describeOrg } from "../reports/org-report.ts";
import { mapKey } from "../reviews/reviews.ts";
import { requestFlush, takeFlushRequests } from "../settlement/settlement-circuit-db.ts";
import { insertSpend, RATE, ScriptedBalances, spend } from "../../test/test-balances.ts";
import { checkInvariant, insertSpendRows } from "../../test/test-ledger.ts";
import { tamper } from "../../test/test-tampering.ts";
import { listPayers, setPayer, unsetPayer } from "./payers.ts";

let database: TestDatabase;
let remote: ScriptedBalances;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", "LiteLLM_VerificationToken", billing_events, spend_reviews, org_gates, billing_accounts, settlement_batches, key_reservations, gateway_sessions,
    key_owners, settlement_flush_requests, payers cascade`.execute(database.db);
  remote = new ScriptedBalances();
});

const operator = { name: "ann", via: "cli" };
/** USD on the ledger by organization. */
async function billed(): Promise<Readonly<Record<string, string>>> {
  const { rows } = await sql<{ org_id: string; usd: string }>`
    select org_id, trim_scale(sum(spend_usd)) as usd from billing_events group by org_id order by org_id`.execute(database.db);
  return Object.fromEntries(rows.map((row) => [row.org_id, row.usd]));
}
const gaps = async () => (await auditCompleteness(database.db, { from: new Date(0), to: new Date(Date.now() + 60_000), rate: RATE })).gaps;
async function grant(orgId: string, credits: string): Promise<void> {
  remote.grant(orgId, credits);
  await remote.reconcile(database.db, orgId);
}
/** A session of the team, as far as reservations ask for it. */
async function admit(sessionId: string, teamId: string): Promise<string> {
  await sql`insert into gateway_sessions (session_id, org_id, model) values (${sessionId}, ${teamId}, 'm') on conflict do nothing`.execute(
    database.db,
  );
  return admitSession(database.db, { orgId: teamId, sessionId, keyGeneration: 1, operation: "session_start" });
}

test("a team without a payer pays for itself, one with a payer from then on does not; what is on the ledger stays, and no audit calls that a difference", async () => {
  await spend(database.db, { orgId: "t1", usd: "1" });
  await setPayer(database.db, "t1", "org_a");
  expect(await gaps()).toEqual([]);
  await spend(database.db, { orgId: "t1", usd: "0.25" });
  await spend(database.db, { orgId: "t2", usd: "0.5" });
  await setPayer(database.db, "t1", "org_b");
  await spend(database.db, { orgId: "t1", usd: "0.125" });
  await unsetPayer(database.db, "t1");
  await spend(database.db, { orgId: "t1", usd: "2" });

  expect(await billed()).toEqual({ org_a: "0.25", org_b: "0.125", t1: "3", t2: "0.5" });
  expect(await gaps()).toEqual([]);
  await checkInvariant(database.db);
});

test("what changes later of a row follows its event, not today's payer; an event that somebody deleted comes back to where it was", async () => {
  const [requestId = ""] = await insertSpendRows(database.db, [{ orgId: "t1", spendUsd: "1" }]);
  await syncSpend(database.db, { rate: RATE });
  await setPayer(database.db, "t1", "org_a");
  await sql`update "LiteLLM_SpendLogs" set spend = 3 where request_id = ${requestId}`.execute(database.db);
  await syncSpend(database.db, { rate: RATE });
  expect(await billed()).toEqual({ t1: "3" });

  await tamper(database.db, sql`delete from billing_events`);
  const range = { from: new Date(0), to: new Date(Date.now() + 60_000), rate: RATE };
  expect((await auditCompleteness(database.db, range)).gaps).toMatchObject([{ org_id: "t1", event_deleted: 1 }]);
});

test("a row without a team is its key's team's, and so that team's payer's: by LiteLLM, by our session, by what a person said", async () => {
  await setPayer(database.db, "t1", "org_a");
  await sql`insert into "LiteLLM_VerificationToken" (token, team_id) values ('hash_of_token', 't1')`.execute(database.db);
  await sql`insert into gateway_sessions (session_id, org_id, model, key_hash) values ('s1', 't1', 'm', 'hash_of_session')`.execute(
    database.db,
  );
  await insertSpend(database.db, { orgId: "", usd: "1", keyHash: "hash_of_token" });
  await insertSpend(database.db, { orgId: "", usd: "2", keyHash: "hash_of_session" });
  await insertSpend(database.db, { orgId: "", usd: "4", sessionId: "s1", keyHash: "hash_of_another" });
  await insertSpend(database.db, { orgId: "", usd: "8", keyHash: "hash_of_nobody" });
  await syncSpend(database.db, { rate: RATE });
  expect(await billed()).toEqual({ org_a: "7" });

  await mapKey(database.db, "hash_of_nobody", "t1", { rate: RATE });
  await insertSpend(database.db, { orgId: "", usd: "16", keyHash: "hash_of_nobody" });
  await syncSpend(database.db, { rate: RATE });

  expect(await billed()).toEqual({ org_a: "31" });
  await checkInvariant(database.db);
});

test("the gate, the reservations and the flush of a team are its payer's, and live keys go along when the payer changes", async () => {
  await setPayer(database.db, "t1", "org_a");
  await expect(checkBillingGate(database.db, "t1", "session_start")).rejects.toThrow("Organization org_a");
  await grant("org_a", "3000");
  await grant("org_b", "6000");
  await writeAllRates(database.db, RATE);
  expect(await checkBillingGate(database.db, "t1", "session_start")).toMatchObject({ orgId: "org_a", balanceCredits: "3000" });
  const budgetUsd = await admit("s1", "t1");
  await requestFlush(database.db, "t1");
  expect(await takeFlushRequests(database.db)).toEqual(["org_a"]);

  await setPayer(database.db, "t1", "org_b");

  expect(await readReservations(database.db, "org_a")).toMatchObject({ reserved_usd: "0", live_sessions: 0 });
  expect(await readReservations(database.db, "org_b")).toMatchObject({ reserved_usd: budgetUsd, live_sessions: 1 });
});

test("a session that is admitted while the payer changes is reserved where its usage will be billed", async () => {
  await grant("org_a", "3000");
  await grant("org_b", "6000");
  await writeAllRates(database.db, RATE);
  await setPayer(database.db, "t1", "org_a");
  const [held, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holder = database.db.transaction().execute(async (tx) => {
    await lockGate(tx, "org_a");
    held.resolve();
    await release.promise;
  });
  await held.promise;
  const waiting = async () =>
    Number((await sql<{ count: string }>`select count(*) as count from pg_locks where not granted`.execute(database.db)).rows[0]?.count);

  const change = setPayer(database.db, "t1", "org_b");
  await expect.poll(waiting).toBeGreaterThan(0);
  const admission = admit("s1", "t1");
  await expect.poll(waiting).toBeGreaterThan(1);
  release.resolve();
  await Promise.all([holder, change, admission]);

  expect(await readReservations(database.db, "org_a")).toMatchObject({ live_sessions: 0 });
  expect(await readReservations(database.db, "org_b")).toMatchObject({ live_sessions: 1 });
});

test.each([
  ["itself", async () => setPayer(database.db, "t1", "t1"), "payer_refused"],
  [
    "whoever is paid for",
    async () => {
      await setPayer(database.db, "org_a", "org_b");
      await setPayer(database.db, "t1", "org_a");
    },
    "payer_refused",
  ],
  [
    "anybody, where the team pays for others",
    async () => {
      await setPayer(database.db, "t2", "t1");
      await setPayer(database.db, "t1", "org_a");
    },
    "payer_refused",
  ],
  [
    "anybody, where the team is suspended",
    async () => {
      await suspendOrg(database.db, "t1", "abuse");
      await setPayer(database.db, "t1", "org_a");
    },
    "payer_refused",
  ],
  ["an id that is too long", async () => setPayer(database.db, "t1", "o".repeat(201)), "invalid_request"],
  ["an id of nothing", async () => setPayer(database.db, "t1", ""), "invalid_request"],
] as const)("a team's payer cannot be %s", async (_who, change, code) => {
  await expect(change()).rejects.toMatchObject({ code });
  expect((await listPayers(database.db)).payers.filter((one) => one.teamId === "t1")).toEqual([]);
});

test("settings of a team that another pays for would hold for nothing, and are refused with who pays", async () => {
  await setPayer(database.db, "t1", "org_a");
  await expect(changeOrgSettings(database.db, "t1", { minCredits: "1" })).rejects.toThrow("org_a pays for t1");
  await expect(suspendOrg(database.db, "t1", "abuse")).rejects.toMatchObject({ code: "payer_refused" });
});

test("each change is on record once with who and what, and the list is by team, in pages", async () => {
  await setPayer(database.db, "t2", "org_a", operator);
  await setPayer(database.db, "t2", "org_a", operator);
  await setPayer(database.db, "t1", "org_a", operator);
  await unsetPayer(database.db, "t2", operator);
  await setPayer(database.db, "t3", "org_b", operator);

  const rows = await database.db.selectFrom("operator_actions").select(["action", "subject", "facts"]).orderBy("action_id").execute();
  expect(rows.map((row) => [row.action, row.subject, row.facts])).toEqual([
    ["team.payer_set", "t2", { payer: { before: "t2", after: "org_a" } }],
    ["team.payer_set", "t1", { payer: { before: "t1", after: "org_a" } }],
    ["team.payer_unset", "t2", { payer: { before: "org_a", after: "t2" } }],
    ["team.payer_set", "t3", { payer: { before: "t3", after: "org_b" } }],
  ]);
  const first = await listPayers(database.db, { limit: 1 });
  expect([first.payers.map((one) => one.teamId), first.nextCursor]).toEqual([["t1"], "t1"]);
  expect((await listPayers(database.db, { cursor: "t1" })).payers).toMatchObject([{ teamId: "t3", orgId: "org_b" }]);
  expect((await listPayers(database.db, { orgId: "org_a" })).payers).toMatchObject([{ teamId: "t1" }]);
  await spend(database.db, { orgId: "org_a", usd: "1" });
  expect(await describeOrg(database.db, "org_a")).toMatchObject({ payerId: "org_a", mode: "settled", keptCredits: "0" });
});

test("nothing but payers-db.ts reads or writes the table of payers, so no look-up can pass it by", async () => {
  const root = new URL("../../../../", import.meta.url).pathname;
  const found: string[] = [];
  for (const folder of [
    "packages/access/src",
    "packages/services/src",
    "apps/gateway/src",
    "apps/worker/src",
    "apps/llm-proxy/src",
    "apps/cli/src",
  ]) {
    for (const name of await readdir(join(root, folder), { recursive: true })) {
      if (!name.endsWith(".ts") || name.endsWith(".test.ts")) continue;
      if (
        /\b(from|join|into|update) payers\b|(selectFrom|insertInto|updateTable|deleteFrom)\("payers"/.test(
          await readFile(join(root, folder, name), "utf8"),
        )
      )
        found.push(`${folder}/${name}`);
    }
  }
  expect(found).toEqual(["packages/access/src/principals/payers-db.ts"]);
});

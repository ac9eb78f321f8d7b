import { randomUUID } from "node:crypto";
import { createLiteLLMTestDatabase, createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listKeys } from "../keys/db.ts";
import { changeKey, mintKey, requireKey, revokeKeys } from "../keys/keys.ts";
import { regenerateKey } from "../keys/regenerate.ts";
import { amountsOf } from "../limits/meters.ts";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import { findSpendLog } from "../spend-logs/db.ts";
import type { AttemptOutcome } from "./spend-log.ts";
import { findTeam, insertTeam, listTeams } from "../teams/db.ts";
import { type AdmissionRequest, admitAttempt } from "./admit.ts";
import { resetBudgetsDueAt } from "./budget-reset.ts";
import { requestOf } from "../../test/test-requests.ts";
import { insertAttemptIfFits } from "./admission-db.ts";
import { settleAttempt } from "./settle.ts";

const TEAM = {
  teamAlias: null,
  maxBudgetUsd: null,
  budgetDuration: null,
  budgetResetAt: null,
  models: [],
  metadata: {},
  blocked: false,
  createdBy: "admin",
};

const outcome = (totalUsd: string): AttemptOutcome => ({
  report: reportOf({ ...NO_USAGE, inputTokens: 7, outputTokens: 5 }),
  cost: { inputUsd: totalUsd, outputUsd: "0", toolUsd: "0", totalUsd },
  status: "success",
  estimated: false,
  recovered: false,
  providerResponseId: "msg_1",
  firstByteAt: new Date(),
  endedAt: new Date(),
});

describe.each([
  ["LiteLLM's own tables", createLiteLLMTestDatabase],
  ["our copy of them", createTestDatabase],
])("on %s", (_name, create) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  afterAll(() => database.drop());

  const request = (keyHash: string, worstCaseUsd = "0.01"): Promise<AdmissionRequest> =>
    requestOf(database.db, keyHash, { minimumUsd: "0.0001", worstCaseUsd });

  async function spend(keyHash: string, usd: string): Promise<void> {
    await settleAttempt(database.db, await admitAttempt(database.db, await request(keyHash)), outcome(usd));
  }

  test("a key is regenerated with a grace, and deleted", async () => {
    const { key, row } = await mintKey(database.db, {});
    await spend(row.token, "0.25");
    const renewed = await regenerateKey(database.db, key, { fields: {}, grace: "1 hour" });
    await spend(row.token, "0.25");

    expect(Number((await requireKey(database.db, renewed.key)).spend)).toBe(0.5);
    expect(await revokeKeys(database.db, [key], [])).toEqual([renewed.row.token]);
    await expect(spend(row.token, "0.25")).rejects.toMatchObject({ code: "invalid_api_key" });
  });

  /** As LiteLLM adds what it spent, or starts a budget again: by its own column only. */
  async function foreignSpend(table: "key" | "team", id: string, change: ReturnType<typeof sql>): Promise<void> {
    if (table === "key") await sql`update "LiteLLM_VerificationToken" set spend = ${change} where token = ${id}`.execute(database.db);
    else await sql`update "LiteLLM_TeamTable" set spend = ${change} where team_id = ${id}`.execute(database.db);
  }

  test("litellm 1: a key that is minted without models has an empty list, is admitted by the one statement, and settles", async () => {
    const { row } = await mintKey(database.db, { userId: "s", maxBudgetUsd: "5" });
    await spend(row.token, "0.001");

    const second = await request(row.token);

    expect(
      (await sql<{ models: unknown }>`select models from "LiteLLM_VerificationToken" where token = ${row.token}`.execute(database.db)).rows,
    ).toEqual([{ models: [] }]);
    expect(
      await insertAttemptIfFits(
        database.db,
        { ...second.attempt, key_hash: row.token, team_id: null, user_id: "s", key_alias: null },
        second.caller,
        { asked: amountsOf(second.metered), runningMs: 0, isLimited: false },
      ),
    ).toMatchObject({ key_hash: row.token });
    expect(await findSpendLog(database.db, second.attempt.attempt_id)).toBeUndefined();
  });

  test.runIf(create === createLiteLLMTestDatabase)(
    "litellm 1: a key and a team of LiteLLM, whose lists are NULL, are used, read and listed as empty",
    async () => {
      await sql`insert into "LiteLLM_TeamTable" (team_id) values ('theirs')`.execute(database.db);
      await sql`insert into "LiteLLM_VerificationToken" (token, team_id, max_budget) values ('their-key', 'theirs', 1)`.execute(
        database.db,
      );
      await spend("their-key", "0.002");

      const again = await request("their-key");

      expect(
        await insertAttemptIfFits(
          database.db,
          { ...again.attempt, key_hash: "their-key", team_id: "theirs", user_id: null, key_alias: null },
          again.caller,
          { asked: amountsOf(again.metered), runningMs: 0, isLimited: false },
        ),
      ).toMatchObject({ key_hash: "their-key" });
      expect(await requireKey(database.db, "their-key")).toMatchObject({ models: [], allowed_routes: [], spend: "0.002" });
      expect(await findTeam(database.db, "theirs")).toMatchObject({ models: [], admins: [], members: [], spend: "0.002" });
      expect((await listKeys(database.db, { teamId: "theirs" }, 1, 10)).rows[0]?.models).toEqual([]);
      expect((await listTeams(database.db, 10)).find((team) => team.team_id === "theirs")?.members).toEqual([]);
      expect(await changeKey(database.db, "their-key", { maxBudgetUsd: "2" })).toMatchObject({ models: [] });
    },
  );

  test("litellm 1: a team of ours has lists that LiteLLM's clients can read", async () => {
    await insertTeam(database.db, { ...TEAM, teamId: "ours" });

    const { rows } =
      await sql`select admins, members, models, team_member_permissions from "LiteLLM_TeamTable" where team_id = 'ours'`.execute(
        database.db,
      );

    expect(rows).toEqual([{ admins: [], members: [], models: [], team_member_permissions: [] }]);
  });

  test("litellm 5: what LiteLLM adds to a key counts in its budget here, and is not spent a second time", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "0.00088" });
    await spend(row.token, "0.000375");
    await foreignSpend("key", row.token, sql`spend + 0.0005`);

    const refusal = await admitAttempt(database.db, await request(row.token)).catch((error: unknown) => error);

    expect(refusal).toMatchObject({ code: "budget_exceeded" });
    expect(String(refusal)).toContain("0.000875 of 0.00088 USD");
    await changeKey(database.db, row.token, { maxBudgetUsd: "0.01" });
    await spend(row.token, "0.0001");
    expect(Number((await requireKey(database.db, row.token)).spend)).toBeCloseTo(0.000975, 12);
  });

  test("litellm 5: what LiteLLM adds to a team counts for every key of it", async () => {
    const teamId = `org-${randomUUID()}`;
    await insertTeam(database.db, { ...TEAM, teamId, maxBudgetUsd: "1" });
    const { row } = await mintKey(database.db, { teamId });
    await spend(row.token, "0.5");
    await foreignSpend("team", teamId, sql`spend + 0.6`);

    await expect(admitAttempt(database.db, await request(row.token))).rejects.toMatchObject({ code: "budget_exceeded" });
  });

  test("litellm 5: a budget that LiteLLM started again at 0 is open here, too", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "1" });
    await spend(row.token, "1");
    await expect(admitAttempt(database.db, await request(row.token))).rejects.toMatchObject({ code: "budget_exceeded" });

    await foreignSpend("key", row.token, sql`0`);

    await spend(row.token, "0.25");
    expect((await requireKey(database.db, row.token)).spend).toBe("0.25");
  });

  test("public bug 37: the first window of an exhausted key starts at 0; setting the same again gives nothing back", async () => {
    const { key, row } = await mintKey(database.db, { maxBudgetUsd: "1" });
    await spend(row.token, "1");
    const window = { budgetDuration: "1d", budgetResetAt: new Date(Date.now() + 3_600_000) };

    await changeKey(database.db, key, window);

    expect((await requireKey(database.db, key)).spend).toBe("0");
    await spend(row.token, "1");
    await changeKey(database.db, key, window);
    await expect(admitAttempt(database.db, await request(row.token))).rejects.toMatchObject({ code: "budget_exceeded" });
    expect(await resetBudgetsDueAt(database.db, new Date(Date.now() + 7_200_000))).toBeGreaterThan(0);
    await spend(row.token, "0.1");
  });

  test("clients F14, litellm 12: a refusal prints its amounts as plain decimals", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "0.0000001" });

    const refusal = await admitAttempt(database.db, await request(row.token)).catch((error: unknown) => error);

    expect(String(refusal)).toContain("(0 of 0.0000001 USD spent)");
  });
});

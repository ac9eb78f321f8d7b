import { createLiteLLMTestDatabase, createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { mintKey } from "../keys/index.ts";
import { admitAttempt, settleAttempt } from "../requests/index.ts";
import { changeTeam, findAliases, findTeam, insertTeam, listTeamPage, removeTeams } from "./index.ts";

describe.each([
  ["LiteLLM's own tables", createLiteLLMTestDatabase],
  ["our copy of them", createTestDatabase],
])("a team, on %s", (_name, create) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  afterAll(() => database.drop());

  async function makeTeam(teamId: string, maxBudgetUsd: string | null = null): Promise<string> {
    const none = { teamAlias: `Alias of ${teamId}`, budgetDuration: null, budgetResetAt: null, models: [], metadata: { a: 1 } };
    await insertTeam(database.db, { ...none, teamId, maxBudgetUsd, blocked: false, createdBy: "admin" });
    return (await mintKey(database.db, { teamId })).row.token;
  }
  const admit = async (key: string) => admitAttempt(database.db, await requestOf(database.db, key));
  const use = async (key: string, usd = "0"): Promise<void> => void (await settleAttempt(database.db, await admit(key), outcomeOf(usd)));
  const change = (teamId: string, fields: Parameters<typeof changeTeam>[2]) => changeTeam(database.db, teamId, fields, "admin");
  const countersOf = async (teamId: string) =>
    database.db.selectFrom("limit_counters").select(["used", "reserved"]).where("principal_id", "=", teamId).execute();

  test("that is changed is so for the next request of its keys, and what is not named stays", async () => {
    const key = await makeTeam("changed", "1");
    await use(key, "0.5");

    await change("changed", { maxBudgetUsd: "0.5" });
    await expect(use(key)).rejects.toMatchObject({ code: "budget_exceeded" });
    expect(await change("changed", { maxBudgetUsd: null, addedMetadata: { tags: ["x"] } })).toMatchObject({
      max_budget: null,
      team_alias: "Alias of changed",
      metadata: { a: 1, tags: ["x"] },
    });
    await use(key);
    await change("changed", { blocked: true });
    await expect(use(key)).rejects.toMatchObject({ code: "blocked_api_key" });
    await change("changed", { blocked: false, rpmLimit: 0 });
    await expect(use(key)).rejects.toMatchObject({ code: "rate_limited" });
  });

  test("that gets its first window starts it at 0, and keeps what it spends in it from then on", async () => {
    const key = await makeTeam("windowed", "1");
    await use(key, "1");

    await change("windowed", { budgetDuration: "1d", budgetResetAt: new Date("2099-01-01T00:00:00Z") });
    await use(key, "1");
    await change("windowed", { budgetDuration: "7d" });

    await expect(use(key)).rejects.toMatchObject({ code: "budget_exceeded" });
  });

  test("has a soft budget below its budget, whichever of the two is changed", async () => {
    await makeTeam("soft", "2");

    await change("soft", { softBudgetUsd: "0.000001" });
    await expect(change("soft", { maxBudgetUsd: "0.000001" })).rejects.toMatchObject({ code: "invalid_request", param: "soft_budget" });
    expect(await findTeam(database.db, "soft")).toMatchObject({ max_budget: "2" });
  });

  test("gets aliases, and other ones in their place", async () => {
    await makeTeam("aliased");

    const first = await change("aliased", { modelAliases: { a: "b" } });
    const second = await change("aliased", { modelAliases: { c: "d" } });

    expect(second.model_id).toBe(first.model_id);
    expect(await findAliases(database.db, second.model_id ?? 0)).toEqual({ c: "d" });
  });

  test("that is deleted takes its keys, counters and aliases with it; what is in flight is settled", async () => {
    const [key, other] = [await makeTeam("doomed", "5"), await makeTeam("spared")];
    const { model_id: modelId } = await change("doomed", { modelAliases: { a: "b" } });
    await use(key, "0.25");
    const running = await admit(key);

    await removeTeams(database.db, ["doomed"]);

    await expect(admit(key)).rejects.toMatchObject({ code: "invalid_api_key" });
    expect(await findAliases(database.db, modelId ?? 0)).toBeNull();
    expect(await settleAttempt(database.db, running, outcomeOf("0.5"))).toBe("settled");
    expect((await countersOf("doomed")).map(({ reserved }) => Number(reserved))).toEqual([0]);
    await use(other);
    // Made anew, it is another team: nothing of the old one comes back to life.
    await makeTeam("doomed");
    await expect(admit(key)).rejects.toMatchObject({ code: "invalid_api_key" });
  });

  test("is deleted with others or not at all, and a deletion that broke off is repeated", async () => {
    const key = await makeTeam("kept");

    await expect(removeTeams(database.db, ["kept", "nobody"])).rejects.toMatchObject({ code: "team_not_found" });
    await use(key);
    await change("kept", { blocked: true });
    await removeTeams(database.db, ["kept"]);
    expect(await findTeam(database.db, "kept")).toBeUndefined();
  });

  test("stands on one page of the list, with how many keys it has", async () => {
    for (const id of ["page-1", "page-2", "page-3"]) await makeTeam(id);
    await mintKey(database.db, { teamId: "page-2" });
    const page = (number: number) =>
      listTeamPage(database.db, { aliasPart: "OF PAGE" }, { column: "team_id", direction: "desc" }, { page: number, size: 2 });

    expect([await page(1), await page(2)]).toMatchObject([
      {
        rows: [
          { team_id: "page-3", keys_count: 1 },
          { team_id: "page-2", keys_count: 2 },
        ],
        total: 3,
      },
      { rows: [{ team_id: "page-1" }], total: 3 },
    ]);
    const ofAdmin = { teamId: "page-1", memberId: "admin" };
    expect(await listTeamPage(database.db, ofAdmin, { column: "created_at", direction: "asc" }, { page: 1, size: 9 })).toMatchObject({
      total: 1,
    });
    expect(
      await listTeamPage(database.db, { memberId: "%" }, { column: "created_at", direction: "asc" }, { page: 1, size: 9 }),
    ).toMatchObject({ total: 0 });
  });
});

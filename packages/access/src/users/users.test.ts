import { createLiteLLMTestDatabase, createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import type { AppError } from "@proliferate/shared/errors";
import { until } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { mintKey } from "../keys/index.ts";
import { listLimits, upsertLimit } from "../limits/index.ts";
import { admitAttempt, settleAttempt } from "../requests/index.ts";
import { insertUser, lockUser } from "./db.ts";
import { changeUser, listUsers, makeUser, removeUsers, requireUser } from "./index.ts";

describe.each([
  ["LiteLLM's own tables", createLiteLLMTestDatabase],
  ["our copy of them", createTestDatabase],
])("a user, on %s", (_name, create) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  afterAll(() => database.drop());

  const make = async (userId: string, fields: Parameters<typeof makeUser>[1] = {}) => makeUser(database.db, fields, userId);
  const keyOf = async (userId: string, teamId?: string): Promise<string> =>
    (await mintKey(database.db, { userId, ...(teamId !== undefined && { teamId }) })).row.token;
  const admit = async (key: string) => admitAttempt(database.db, await requestOf(database.db, key));
  const use = async (key: string, usd = "0"): Promise<void> => void (await settleAttempt(database.db, await admit(key), outcomeOf(usd)));
  const limitsOf = async (id: string) =>
    (await listLimits(database.db, { kind: "user", id })).map(({ meter, window, amount }) => `${meter} ${window} ${amount}`);

  test("is limited over all of its keys together, from the next request on", async () => {
    await make("capped", { maxBudgetUsd: "1" });
    const [one, other] = [await keyOf("capped"), await keyOf("capped")];
    await use(one, "0.75");
    await use(other, "0.5");

    await expect(use(one)).rejects.toMatchObject({ code: "budget_exceeded" });
    await expect(use(other)).rejects.toMatchObject({ code: "budget_exceeded" });
    await changeUser(database.db, "capped", { maxBudgetUsd: "2" });
    await use(one);
    await changeUser(database.db, "capped", { rpmLimit: 0 });
    await expect(use(other)).rejects.toMatchObject({ code: "rate_limited" });
    await changeUser(database.db, "capped", { rpmLimit: null, maxBudgetUsd: null });
    await use(other);
    expect(await limitsOf("capped")).toEqual([]);
    expect(await requireUser(database.db, "capped")).toMatchObject({ spend: "1.25", key_count: 2, max_budget: null });
  });

  test("has one budget, in the window that was said last", async () => {
    await make("windowed", { maxBudgetUsd: "0.000001", budgetDuration: "1d", tpmLimit: 5, maxParallelRequests: 2 });
    expect(await limitsOf("windowed")).toEqual(["parallel total 2", "tokens minute 5", "usd day 0.000001"]);

    await changeUser(database.db, "windowed", { budgetDuration: "5h" });
    await changeUser(database.db, "windowed", { userAlias: "said nothing of it", metadata: { a: 1 } });
    expect(await limitsOf("windowed")).toEqual(["parallel total 2", "tokens minute 5", "usd 5h 0.000001"]);
    await expect(changeUser(database.db, "windowed", { budgetDuration: "fortnightly" })).rejects.toMatchObject({ code: "invalid_request" });
    expect(await requireUser(database.db, "windowed")).toMatchObject({ budget_duration: "5h", user_alias: "said nothing of it" });
  });

  test("keeps the limits that its row never said, and loses those that it says no more", async () => {
    await make("partly", { rpmLimit: 7, budgetDuration: "monthly", maxBudgetUsd: "3" });
    const principal = { kind: "user", id: "partly" } as const;
    await upsertLimit(database.db, { principal, meter: "tokens", window: "minute", model: "", amount: "900", enforce: "refuse" });
    await upsertLimit(database.db, { principal, meter: "usd", window: "total", model: "", amount: "50", enforce: "refuse" });

    await changeUser(database.db, "partly", { userAlias: "renamed" });
    expect(await limitsOf("partly")).toEqual(["requests minute 7", "tokens minute 900", "usd month 3", "usd total 50"]);
    await changeUser(database.db, "partly", { rpmLimit: null, maxBudgetUsd: null });
    expect(await limitsOf("partly")).toEqual(["tokens minute 900", "usd total 50"]);
  });

  test("whose stored window nobody can read is changed once another is said, and shown before", async () => {
    await make("odd", { maxBudgetUsd: "3" });
    await database.db.updateTable("LiteLLM_UserTable").set({ budget_duration: "30min" }).where("user_id", "=", "odd").execute();

    await expect(changeUser(database.db, "odd", { userAlias: "x" })).rejects.toMatchObject({ code: "invalid_request" });
    await changeUser(database.db, "odd", { budgetDuration: "daily" });
    expect(await limitsOf("odd")).toContain("usd day 3");
  });

  test("waits for one who is being made with the same address, and is refused then", async () => {
    const { db } = database;
    const isWaited = async (): Promise<boolean> => {
      const { rows } = await sql`
        select from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())`.execute(
        db,
      );
      return rows.length > 0;
    };
    let later: Promise<string> | undefined;
    await db.transaction().execute(async (tx) => {
      await lockUser(tx, "email", "first@example.org");
      await insertUser(tx, "first", { userEmail: "first@example.org" });
      let isSettled = false;
      later = make("second", { userEmail: "First@example.org" })
        .then(
          () => "made",
          (error: unknown) => (error as AppError).code,
        )
        .finally(() => (isSettled = true));
      await until(async () => isSettled || (await isWaited()), Boolean);
    });

    expect(await later).toBe("user_exists");
  });

  test("is one of its id and one of its address", async () => {
    await make("mail-1", { userEmail: "One@example.org" });

    await expect(changeUser(database.db, "mail-4", { userEmail: "one@EXAMPLE.org" })).rejects.toMatchObject({
      code: "user_exists",
      param: "user_email",
    });
    await make("twice");
    await expect(make("twice", { maxBudgetUsd: "1" })).rejects.toMatchObject({ code: "user_exists", param: "user_id" });
    expect(await limitsOf("twice")).toEqual([]);
  });

  test("that is deleted takes its keys and limits with it; one that there is not leaves all as they are", async () => {
    await make("doomed", { maxBudgetUsd: "5" });
    const [key, other] = [await keyOf("doomed"), await keyOf("doomed-not")];
    const running = await admit(key);

    await expect(removeUsers(database.db, ["doomed", "nobody"])).rejects.toMatchObject({ code: "user_not_found" });
    await use(key);
    expect(await removeUsers(database.db, ["doomed"])).toBe(1);
    await expect(admit(key)).rejects.toMatchObject({ code: "invalid_api_key" });
    await use(other);
    expect(await settleAttempt(database.db, running, outcomeOf("0.5"))).toBe("settled");
    expect(await limitsOf("doomed")).toEqual([]);
    await expect(requireUser(database.db, "doomed")).rejects.toMatchObject({ code: "user_not_found" });
  });

  test("stands on one page of the list", async () => {
    for (const id of ["page-1", "page-2", "page-3"]) await make(id, { userEmail: `${id}@pages.example` });
    const page = (number: number) =>
      listUsers(database.db, { emailPart: "@PAGES." }, { column: "user_email", direction: "desc" }, { page: number, size: 2 });

    expect([await page(1), await page(2)]).toMatchObject([
      { rows: [{ user_id: "page-3" }, { user_id: "page-2" }], total: 3 },
      { rows: [{ user_id: "page-1" }], total: 3 },
    ]);
    const byId = { userIds: ["page-1", "nobody"] };
    expect(await listUsers(database.db, byId, { column: "user_id", direction: "asc" }, { page: 1, size: 9 })).toMatchObject({ total: 1 });
  });
});

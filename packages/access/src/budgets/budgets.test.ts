import { createLiteLLMTestDatabase, createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { findCaller } from "../keys/callers-db.ts";
import { changeKey, mintKey, requireKey, revokeKeys } from "../keys/keys.ts";
import { resetBudgetsDueAt } from "../requests/budget-reset.ts";
import { admitAttempt, settleAttempt } from "../requests/index.ts";
import { changeBudget, makeBudget, removeBudget } from "./budgets.ts";

describe.each([
  ["LiteLLM's own tables", createLiteLLMTestDatabase],
  ["our copy of them", createTestDatabase],
])("a budget, on %s", (_name, create) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  afterAll(() => database.drop());

  const make = async (fields: Parameters<typeof makeBudget>[1]["fields"]): Promise<string> =>
    (await makeBudget(database.db, { createdBy: "admin", fields })).budget_id;
  const keyWith = async (budgetId: string, own: Parameters<typeof mintKey>[1] = {}): Promise<string> =>
    (await mintKey(database.db, { budgetId, ...own })).row.token;
  async function use(keyHash: string, usd = "0"): Promise<void> {
    await settleAttempt(database.db, await admitAttempt(database.db, await requestOf(database.db, keyHash)), outcomeOf(usd));
  }

  test("limits each of its keys, and a change of it all of them with their next request", async () => {
    const budgetId = await make({ maxBudgetUsd: "1" });
    const keys = [await keyWith(budgetId), await keyWith(budgetId)];
    for (const key of keys) await use(key, "0.5");

    await changeBudget(database.db, budgetId, "admin", { maxBudgetUsd: "0.5" });
    for (const key of keys) await expect(use(key)).rejects.toMatchObject({ code: "budget_exceeded" });
    await changeBudget(database.db, budgetId, "admin", { maxBudgetUsd: null, rpmLimit: 0 });
    for (const key of keys) await expect(use(key)).rejects.toMatchObject({ code: "rate_limited" });
    await changeBudget(database.db, budgetId, "admin", { rpmLimit: null });
    for (const key of keys) await use(key);
  });

  test("is counted for each key by itself", async () => {
    const budgetId = await make({ maxBudgetUsd: "1" });
    const [spent, fresh] = [await keyWith(budgetId), await keyWith(budgetId)];
    await use(spent, "1");

    await expect(use(spent)).rejects.toMatchObject({ code: "budget_exceeded" });
    await use(fresh, "0.5");
  });

  test("gives way to what a key sets itself", async () => {
    const budgetId = await make({
      maxBudgetUsd: "0",
      rpmLimit: 0,
      modelMaxBudget: { "claude-haiku-4-5": { budget_limit: "0", time_period: "1d" } },
    });
    const own = await keyWith(budgetId, {
      maxBudgetUsd: "1",
      rpmLimit: 1_000,
      modelMaxBudget: { "claude-haiku-4-5": { budget_limit: "1", time_period: "1d" } },
    });

    await use(own);
    expect(await findCaller(database.db, own)).toMatchObject({ maxBudgetUsd: "1" });
    expect(await findCaller(database.db, await keyWith(budgetId))).toMatchObject({ maxBudgetUsd: "0" });
  });

  test("its window begins anew for its keys, once, but not for those that have one of their own", async () => {
    const resetAt = new Date("2026-01-02T00:00:00Z");
    const budgetId = await make({ maxBudgetUsd: "1", budgetDuration: "1d", budgetResetAt: resetAt });
    const follower = await keyWith(budgetId);
    const own = await keyWith(budgetId, { budgetDuration: "30d", budgetResetAt: new Date("2030-01-01T00:00:00Z") });
    for (const key of [follower, own]) await use(key, "1");

    const resets = await Promise.all([resetBudgetsDueAt(database.db, resetAt), resetBudgetsDueAt(database.db, resetAt)]);

    expect(resets.toSorted()).toEqual([0, 1]);
    expect((await requireKey(database.db, follower)).spend).toBe("0");
    await use(follower, "0.5");
    await expect(use(own)).rejects.toMatchObject({ code: "budget_exceeded" });
  });

  test("litellm fields 2: a window that LiteLLM took and we would not ends at midnight, and keeps no other from ending", async () => {
    const now = new Date("2026-01-05T12:00:00Z");
    const odd = { maxBudgetUsd: "1", budgetDuration: "30min", budgetResetAt: new Date("2026-01-05T00:00:00Z") };
    const budgetId = await make(odd);
    const keys = [await keyWith(budgetId), await keyWith(await make({}), odd)];
    const later = await keyWith(await make({}), { ...odd, budgetDuration: "1d", budgetResetAt: now });
    const spent = async (): Promise<readonly string[]> =>
      Promise.all([...keys, later].map(async (key) => (await requireKey(database.db, key)).spend));
    for (const key of [...keys, later]) await use(key, "1");

    await resetBudgetsDueAt(database.db, now);
    expect(await spent()).toEqual(["0", "0", "0"]);
    for (const key of [...keys, later]) await use(key, "1");
    await resetBudgetsDueAt(database.db, new Date("2026-01-05T23:59:59Z"));
    expect(await spent()).toEqual(["1", "1", "1"]);
    await resetBudgetsDueAt(database.db, new Date("2026-01-06T00:00:00Z"));
    expect(await spent()).toEqual(["0", "0", "0"]);
  });

  test("by LiteLLM's other names for the budget of a model it holds, too", async () => {
    const budgetId = await make({ modelMaxBudget: { "claude-haiku-4-5": { max_budget: 0, budget_duration: "1d" } } });

    await expect(use(await keyWith(budgetId))).rejects.toMatchObject({ code: "budget_exceeded" });
  });

  test("that a key has is not deleted, one that no key has is, and a key gets none that does not exist", async () => {
    const budgetId = await make({ maxBudgetUsd: "1" });
    const key = await keyWith(budgetId);

    await expect(removeBudget(database.db, budgetId)).rejects.toMatchObject({ code: "invalid_request" });
    await changeKey(database.db, key, { budgetId: null });
    await removeBudget(database.db, budgetId);
    await expect(removeBudget(database.db, budgetId)).rejects.toMatchObject({ code: "not_found" });
    await expect(changeKey(database.db, key, { budgetId })).rejects.toMatchObject({ code: "invalid_request" });
    await expect(mintKey(database.db, { budgetId })).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("of a key's own has its soft budget; one that is shared is changed by itself alone", async () => {
    const { row } = await mintKey(database.db, { softBudgetUsd: "0.5" });
    expect(await findCaller(database.db, row.token)).toMatchObject({ softBudgetUsd: "0.5" });
    expect((await changeKey(database.db, row.token, { softBudgetUsd: "0.7" })).budget_id).toBe(row.budget_id);
    expect(await findCaller(database.db, row.token)).toMatchObject({ softBudgetUsd: "0.7" });

    const other = await keyWith(row.budget_id ?? "");
    await expect(changeKey(database.db, row.token, { softBudgetUsd: "0.9" })).rejects.toMatchObject({ code: "invalid_request" });
    await revokeKeys(database.db, [other], []);
    await changeKey(database.db, row.token, { softBudgetUsd: null });
    expect(await findCaller(database.db, row.token)).toMatchObject({ softBudgetUsd: null });
  });
});

import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { mapReview } from "../reviews/reviews.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const ID = "request-of-a-victim";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(database.db);
  await insertSpendRows(database.db, [
    { requestId: ID, orgId: "org_victim", spendUsd: "0.1" },
    { requestId: `${ID}:correction`, orgId: "org_attacker", spendUsd: "50" },
  ]);
});

const sync = () => syncSpend(database.db, { rate: RATE });
const spentBy = async (orgId: string): Promise<readonly string[]> => {
  const rows = await database.db.selectFrom("billing_events").select("spend_usd").where("org_id", "=", orgId).orderBy("event_id").execute();
  return rows.map((row) => row.spend_usd);
};

it("review 8: a row that names another key's request as what it corrects is billed to nobody else, and waits for a person, once", async () => {
  await sql`update "LiteLLM_SpendLogs" set api_key = 'hash_of_an_attackers_key' where request_id = ${`${ID}:correction`}`.execute(
    database.db,
  );

  expect(await sync()).toMatchObject({ events: 1, adjustments: 0, reviews: 1 });
  expect(await sync()).toMatchObject({ events: 0, adjustments: 0, reviews: 0 });

  expect(await spentBy("org_victim")).toEqual(["0.1"]);
  expect(await database.db.selectFrom("spend_reviews").select(["reason", "org_id", "key_hash"]).execute()).toEqual([
    { reason: "unlinked_refund", org_id: "org_attacker", key_hash: "hash_of_an_attackers_key" },
  ]);
  expect(await mapReview(database.db, `id:${ID}:correction`, "org_attacker", { rate: RATE })).toBe(true);
  expect(await sync()).toMatchObject({ events: 0, adjustments: 0, reviews: 0 });
  expect([await spentBy("org_victim"), await spentBy("org_attacker")]).toEqual([["0.1"], ["50"]]);
});

it("a row of the same key is an adjustment of that request", async () => {
  expect(await sync()).toMatchObject({ events: 2, adjustments: 1, reviews: 0 });
  expect(await spentBy("org_victim")).toEqual(["0.1", "50"]);
});

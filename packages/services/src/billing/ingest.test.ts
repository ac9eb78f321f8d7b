import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { addRateCard, listRateCards, seedRateCard } from "../rates/rate-cards.ts";
import { dismissReview, mapKey, mapReview } from "../reviews/reviews.ts";
import { syncSpend } from "./spend-sync.ts";
import { checkInvariant, insertSpendRows } from "../../test/test-ledger.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const HOUR_MS = 3_600_000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", "LiteLLM_VerificationToken", gateway_sessions, key_owners, rate_cards, billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(
    database.db,
  );
});

const sync = (options: Partial<Parameters<typeof syncSpend>[1]> = {}) => syncSpend(database.db, { rate: RATE, ...options });
const readEvents = () => database.db.selectFrom("billing_events").selectAll().orderBy("event_id").execute();
const readReviews = () => database.db.selectFrom("spend_reviews").selectAll().orderBy("review_key").execute();
const setSpend = (requestId: string, spend: string) =>
  sql`update "LiteLLM_SpendLogs" set spend = ${spend}::float8 where request_id = ${requestId}`.execute(database.db);

describe("the owner of a row without a team", () => {
  it.each([
    ["LiteLLM's own key row", sql`insert into "LiteLLM_VerificationToken" (token, team_id) values ('hash_of_a_key', 'org_found')`],
    [
      "a session of ours with that key",
      sql`insert into gateway_sessions (session_id, org_id, state, model, key_hash) values ('s', 'org_found', 'active', 'm', 'hash_of_a_key')`,
    ],
    [
      "the session that the key's user names",
      sql`insert into gateway_sessions (session_id, org_id, model) values ('session_1', 'org_found', 'm')`,
    ],
    ["what a person told of the key", sql`insert into key_owners (key_hash, org_id) values ('hash_of_a_key', 'org_found')`],
  ])("is found through %s", async (_, known) => {
    await known.execute(database.db);
    await insertSpendRows(database.db, [{ requestId: "without_team", orgId: "" }]);

    expect(await sync()).toMatchObject({ events: 1, reviews: 0 });

    expect(await readEvents()).toMatchObject([{ org_id: "org_found" }]);
  });

  it("defect 03 wrong session attribution: the session is the key's user, not the end user that the caller claims", async () => {
    await insertSpendRows(database.db, [{ requestId: "claimed", sessionId: "session_of_the_key" }]);
    await sql`update "LiteLLM_SpendLogs" set end_user = 'session_of_somebody_else'`.execute(database.db);

    await sync();

    expect(await readEvents()).toMatchObject([{ session_id: "session_of_the_key" }]);
  });

  it("defect 15 exhausted orgs drop out: suspended, exhausted and deleted orgs are billed for what they used", async () => {
    await sql`insert into org_gates (org_id, state) values ('org_exhausted', 'exhausted'), ('org_suspended', 'suspended')`.execute(
      database.db,
    );
    await insertSpendRows(database.db, [{ orgId: "org_exhausted" }, { orgId: "org_suspended" }, { orgId: "org_that_no_team_row_knows" }]);

    expect(await sync()).toMatchObject({ events: 3, reviews: 0 });
  });
});

describe("a review", () => {
  it("pitfall 19 no team: is billed once when it is mapped, even if the source has lost the row", async () => {
    await insertSpendRows(database.db, [{ requestId: "orphan", orgId: null, spendUsd: "0.5" }]);
    expect(await sync()).toMatchObject({ events: 0, reviews: 1 });
    await sql`truncate "LiteLLM_SpendLogs"`.execute(database.db);

    expect(await mapReview(database.db, "id:orphan", "org_found", { rate: RATE })).toBe(true);
    expect(await mapReview(database.db, "id:orphan", "org_found", { rate: RATE })).toBe(false);

    expect(await readEvents()).toMatchObject([{ idempotency_key: "llm:orphan", org_id: "org_found", credits: "150.0" }]);
    expect(await readReviews()).toMatchObject([{ resolution: "billed", org_id: "org_found" }]);
    await insertSpendRows(database.db, [{ requestId: "orphan", orgId: "org_found", spendUsd: "0.5", ageMs: 1_000 }]);
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0 });
  });

  it("is billed at once, as all rows of the key from then on, when somebody says whose the key is", async () => {
    await insertSpendRows(database.db, [{ orgId: "" }, { orgId: "" }]);
    await sync();

    expect(await mapKey(database.db, "hash_of_a_key", "org_found", { rate: RATE })).toBe(2);
    await insertSpendRows(database.db, [{ orgId: "" }]);

    expect(await sync()).toMatchObject({ events: 1, reviews: 0 });
    expect((await readEvents()).map((event) => event.org_id)).toEqual(["org_found", "org_found", "org_found"]);
    await checkInvariant(database.db);
  });

  it("of an amount that is no number is not billed to anybody, an unknown one is not found, and a dismissed one stays so", async () => {
    await insertSpendRows(database.db, [{ requestId: "nan", spendUsd: "NaN" }]);
    await sync();

    await expect(mapReview(database.db, "id:nan", "org_a", { rate: RATE })).rejects.toMatchObject({ code: "review_not_billable" });
    await expect(mapReview(database.db, "id:nobody", "org_a", { rate: RATE })).rejects.toMatchObject({ code: "review_not_found" });
    expect(await dismissReview(database.db, "id:nan")).toBe(true);
    expect(await dismissReview(database.db, "id:nan")).toBe(false);
    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0, reviews: 0 });
  });

  it("without a rate for its time changes nothing", async () => {
    await insertSpendRows(database.db, [{ requestId: "orphan", orgId: "" }]);
    await sync();

    await expect(mapReview(database.db, "id:orphan", "org_a")).rejects.toMatchObject({ code: "rate_card_invalid" });

    expect(await readEvents()).toEqual([]);
    expect(await readReviews()).toMatchObject([{ resolved_at: null }]);
  });

  it("defect 12 poison row: a row of nobody holds up no other, in the same statement or later", async () => {
    await insertSpendRows(database.db, [{ orgId: null, ageMs: 3_000 }, { ageMs: 2_000 }, { orgId: "", ageMs: 1_500 }, { ageMs: 1_000 }]);

    expect(await sync({ chunkRows: 1 })).toMatchObject({ events: 2, reviews: 2 });
  });

  it("pitfall 18 empty ids: three streams without id are three reviews and no charge, each billed once when mapped", async () => {
    await sql`alter table "LiteLLM_SpendLogs" drop constraint "LiteLLM_SpendLogs_pkey"`.execute(database.db);
    await insertSpendRows(
      database.db,
      [1, 2, 3].map((n) => ({ requestId: "", ageMs: n * 1_000 })),
    );
    expect(await sync()).toMatchObject({ events: 0, reviews: 3 });

    for (const review of await readReviews()) expect(await mapReview(database.db, review.review_key, "org_a", { rate: RATE })).toBe(true);

    expect(await sync({ fullSweep: true })).toMatchObject({ events: 0, reviews: 0 });
    expect(await readEvents()).toHaveLength(3);
    await checkInvariant(database.db);
    await sql`truncate "LiteLLM_SpendLogs"`.execute(database.db);
    await sql`alter table "LiteLLM_SpendLogs" add primary key (request_id)`.execute(database.db);
  });

  it("pitfall 18 recycled ids: an id that was used days ago is not billed away, and its second request is in review", async () => {
    await insertSpendRows(database.db, [{ requestId: "recycled", ageMs: 72 * HOUR_MS }]);
    await sync({ fullSweep: true });
    await sql`delete from "LiteLLM_SpendLogs"`.execute(database.db);
    await insertSpendRows(database.db, [{ requestId: "recycled", spendUsd: "7" }, { requestId: "other" }]);

    expect(await sync()).toMatchObject({ events: 1, reviews: 1 });
    expect(await sync()).toMatchObject({ events: 0, reviews: 0 });

    expect(await readReviews()).toMatchObject([{ reason: "recycled_id", spend_usd: "7" }]);
  });
});

describe("what the source says later", () => {
  it("pitfall 21 updated spend: 1.00 that became 1.20 is one adjustment of 0.20 at the original's rate, linked to it", async () => {
    await insertSpendRows(database.db, [{ requestId: "late_price", spendUsd: "1" }]);
    await sync();
    await setSpend("late_price", "1.2");

    expect(await sync({ rate: { markup: "2", creditsPerUsd: "100" } })).toMatchObject({ events: 1, adjustments: 1 });
    expect(await sync()).toMatchObject({ events: 0 });

    const [original, adjustment] = await readEvents();
    expect(adjustment).toMatchObject({
      idempotency_key: "adj:late_price:1",
      event_type: "adjustment",
      request_id: "late_price",
      spend_usd: "0.2",
      markup: "3",
      credits: "60.0",
    });
    expect(adjustment?.original_event_id).toBe(original?.event_id);
    await checkInvariant(database.db);
  });

  it("may come several times, down and up again, and the sum is always the source's", async () => {
    await insertSpendRows(database.db, [{ requestId: "moody", spendUsd: "1" }]);
    await sync();
    for (const spend of ["0.25", "-3", "0.000123", "2"]) {
      await setSpend("moody", spend);
      await sync();
      await checkInvariant(database.db);
    }

    const events = await readEvents();
    expect(events.map((event) => event.spend_usd)).toEqual(["1", "-0.75", "-0.25", "0.000123", "1.999877"]);
  });

  it("pitfall 20 negative spend: a correction row gives back at most what was charged, and what was cut is in review", async () => {
    await insertSpendRows(database.db, [
      { requestId: "estimated", spendUsd: "0.5" },
      { requestId: "estimated:correction", spendUsd: "-0.2" },
      { requestId: "small", spendUsd: "0.1" },
      { requestId: "small:correction", spendUsd: "-0.3" },
    ]);

    expect(await sync()).toMatchObject({ events: 4, adjustments: 2 });
    expect(await sync()).toMatchObject({ events: 0, reviews: 0 });

    expect((await readEvents()).map((event) => [event.idempotency_key, event.spend_usd])).toEqual([
      ["llm:estimated", "0.5"],
      ["llm:small", "0.1"],
      ["adj:estimated:1", "-0.2"],
      ["adj:small:1", "-0.1"],
    ]);
    expect(await readReviews()).toMatchObject([{ review_key: "cut:small:correction", reason: "excess_refund", spend_usd: "-0.3" }]);
    await checkInvariant(database.db);
  });

  it("pitfall 20 negative spend: a refund is measured by what its request costs now, however long ago its price was raised", async () => {
    await insertSpendRows(database.db, [{ requestId: "old", spendUsd: "0.1", ageMs: 40 * HOUR_MS }]);
    await sync({ fullSweep: true });
    await setSpend("old", "0.4");
    await insertSpendRows(database.db, [{ requestId: "old:correction", spendUsd: "-0.4" }]);

    await sync();
    await sync({ fullSweep: true });

    expect((await readEvents()).map((event) => [event.idempotency_key, event.spend_usd])).toEqual([
      ["llm:old", "0.1"],
      ["adj:old:1", "0.3"],
      ["adj:old:2", "-0.4"],
    ]);
    expect(await readReviews()).toEqual([]);
    await checkInvariant(database.db);
  });

  it("pitfall 20 negative spend: a refund of no request waits in review for a person", async () => {
    await insertSpendRows(database.db, [
      { requestId: "refund", spendUsd: "-0.02" },
      { requestId: "nobody:correction", spendUsd: "-0.01" },
    ]);

    expect(await sync()).toMatchObject({ events: 0, reviews: 2 });
    await mapReview(database.db, "id:refund", "org_a", { rate: RATE });

    expect(await readEvents()).toMatchObject([{ credits: "-6.00" }]);
    await checkInvariant(database.db);
  });

  it("pitfall 20 zero spend: tokens without a price are billed at nothing and seen; failures, cache hits and what is marked free are not", async () => {
    await insertSpendRows(
      database.db,
      ["unpriced", "failed", "cached", "free"].map((requestId) => ({ requestId, spendUsd: "0", model: requestId })),
    );
    await sql`update "LiteLLM_SpendLogs" set status = 'failure' where request_id = 'failed'`.execute(database.db);
    await sql`update "LiteLLM_SpendLogs" set cache_hit = 'True' where request_id = 'cached'`.execute(database.db);

    await sql`update "LiteLLM_SpendLogs" set metadata = '{"free": true}' where request_id = 'free'`.execute(database.db);

    expect(await sync()).toMatchObject({ events: 4, credits: "0" });
    expect(await readReviews()).toMatchObject([{ review_key: "zero:unpriced", reason: "zero_price", resolved_at: null }]);
    await setSpend("unpriced", "0.4");

    expect(await sync()).toMatchObject({ adjustments: 1, credits: "120", resolvedReviews: 1 });
  });
});

describe("public bug F2: a row that its writer could not price to the end", () => {
  it("is billed by what is known and stands in review, until its amount is corrected", async () => {
    await insertSpendRows(database.db, [
      { requestId: "odd", spendUsd: "0.4" },
      { requestId: "plain", spendUsd: "0.4" },
    ]);
    await sql`update "LiteLLM_SpendLogs" set metadata = '{"unknown_usage": ["cache_creation.ephemeral_24h_input_tokens"]}' where request_id = 'odd'`.execute(
      database.db,
    );

    expect(await sync()).toMatchObject({ events: 2, credits: "240" });
    expect(await readReviews()).toMatchObject([{ review_key: "usage:odd", reason: "unknown_usage", resolved_at: null }]);
    await setSpend("odd", "0.5");

    expect(await sync()).toMatchObject({ adjustments: 1, resolvedReviews: 1 });
    await checkInvariant(database.db);
  });
});

describe("rate cards", () => {
  it("pitfall 23 rate change: events before it keep their markup, an org's own card comes first, and the id is frozen on the event", async () => {
    const changedAt = new Date(Date.now() - 10 * 60_000);
    await seedRateCard(database.db, RATE);
    const later = await addRateCard(database.db, { markup: "2.5", creditsPerUsd: "100", validFrom: changedAt });
    const own = await addRateCard(database.db, { orgId: "org_own", markup: "1", creditsPerUsd: "100", validFrom: new Date(0) });
    await insertSpendRows(database.db, [
      { requestId: "a", ageMs: 20 * 60_000, spendUsd: "1" },
      { requestId: "b", spendUsd: "1" },
      { requestId: "c", orgId: "org_own", spendUsd: "1" },
    ]);

    await sync({ rate: { markup: "99", creditsPerUsd: "100" } });

    const events = await readEvents();
    expect(events.map((event) => [event.request_id, event.credits])).toEqual(
      [
        ["a", "300"],
        ["c", "100"],
        ["b", "250.0"],
      ].sort(),
    );
    expect(events.find((event) => event.request_id === "b")?.rate_card_id).toBe(later.rate_card_id);
    expect(events.find((event) => event.request_id === "c")?.rate_card_id).toBe(own.rate_card_id);
    await checkInvariant(database.db);
  });

  it.each([
    ["a negative markup", { markup: "-1" }, "rate_card_invalid"],
    ["no markup", { markup: "0.000" }, "rate_card_invalid"],
    ["a markup that is no number", { markup: "3e2" }, "rate_card_invalid"],
    ["zero credits", { creditsPerUsd: "0" }, "rate_card_invalid"],
    ["an end before its beginning", { validTo: new Date(1) }, "rate_card_invalid"],
    ["no date", { validFrom: new Date("yesterday") }, "rate_card_invalid"],
    ["a time that another card covers", { validFrom: new Date("2026-01-15"), validTo: new Date("2026-03-01") }, "rate_card_overlap"],
  ])("with %s are refused, and nothing changes", async (_, wrong, code) => {
    await addRateCard(database.db, {
      markup: "3",
      creditsPerUsd: "100",
      validFrom: new Date("2026-01-01"),
      validTo: new Date("2026-02-01"),
    });
    const before = await listRateCards(database.db);

    await expect(
      addRateCard(database.db, { markup: "2", creditsPerUsd: "100", validFrom: new Date("2026-05-01"), ...wrong }),
    ).rejects.toMatchObject({ code });

    expect(await listRateCards(database.db)).toEqual(before);
  });

  it("follow the environment from now on when it changes, and leave an operator's card alone", async () => {
    expect(await seedRateCard(database.db, RATE)).toBe(true);
    expect(await seedRateCard(database.db, RATE)).toBe(false);
    expect(await seedRateCard(database.db, { markup: "2", creditsPerUsd: "100" })).toBe(true);
    await addRateCard(database.db, { markup: "7", creditsPerUsd: "100", validFrom: new Date(Date.now() + HOUR_MS) });

    expect(await seedRateCard(database.db, { markup: "9", creditsPerUsd: "100" })).toBe(false);

    expect((await listRateCards(database.db)).map((card) => card.markup)).toEqual(["3", "2", "7"]);
  });
});

describe("the balance", () => {
  it("moves with the events in one transaction, and stays unknown where nobody told it", async () => {
    await sql`insert into billing_accounts (org_id, balance_credits) values ('org_known', 100)`.execute(database.db);
    await insertSpendRows(database.db, [{ requestId: "k", orgId: "org_known", spendUsd: "0.1" }, { orgId: "org_new" }]);
    await sync();
    await setSpend("k", "0.2");
    await sync();

    const balances = await database.db.selectFrom("billing_accounts").select(["org_id", "balance_credits"]).orderBy("org_id").execute();

    expect(balances.map((row) => [row.org_id, row.balance_credits === null ? null : Number(row.balance_credits)])).toEqual([
      ["org_known", 40],
      ["org_new", null],
    ]);
  });
});

import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { checkInvariant, insertSpendRows } from "../../test/test-ledger.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { findSpendLog } from "@proliferate/access/spend-logs";
import { applyReprice, previewReprice } from "./reprice.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };
const RANGE = { from: new Date(Date.now() - 3_600_000), to: new Date(Date.now() + 3_600_000) };
const ANN = { name: "ann", via: "cli", reason: "the searches were not counted" };

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches cascade`.execute(database.db);
});

interface Kept {
  readonly requestId: string;
  readonly spendUsd: string;
  readonly usage: Readonly<Record<string, unknown>>;
  readonly priceId?: string;
  readonly estimated?: boolean;
  /** What the provider was asked in, where the caller spoke a chat. */
  readonly servedCallType?: string;
}

/** Rows as a proxy wrote them that knew less than today's. */
async function insertKept(...rows: readonly Kept[]): Promise<void> {
  await insertSpendRows(
    database.db,
    rows.map(({ requestId, spendUsd }) => ({ requestId, spendUsd, model: "anthropic/claude-opus-5-5" })),
  );
  for (const { requestId, usage, priceId = "anthropic/claude-opus-5-5", estimated = false, servedCallType } of rows) {
    const metadata = {
      estimated,
      model_map_information: { model_map_key: priceId },
      unknown_usage: ["speed=fast"],
      ...(servedCallType !== undefined && { served_call_type: servedCallType }),
      provider_usage: { model: "claude-opus-5-5", stop_reason: "end_turn", has_content: true, usage },
    };
    await sql`update "LiteLLM_SpendLogs" set custom_llm_provider = 'anthropic', metadata = ${JSON.stringify(metadata)}::jsonb, request_tags = '[]' where request_id = ${requestId}`.execute(
      database.db,
    );
    if (servedCallType !== undefined)
      await database.db.updateTable("LiteLLM_SpendLogs").set({ call_type: "acompletion" }).where("request_id", "=", requestId).execute();
  }
}

const FAST = { input_tokens: 1_000, cache_read_input_tokens: 10_000, output_tokens: 500, speed: "fast" };

test("public bug F2: a row that was priced without its speed is corrected, billed, on record, and its review is closed", async () => {
  await insertKept({ requestId: "fast", spendUsd: "0.016", usage: FAST });
  await syncSpend(database.db, { rate: RATE });

  const result = await applyReprice(database.db, RANGE, ANN);

  expect(result).toMatchObject({
    rows: 1,
    changed: [{ requestId: "fast", beforeUsd: "0.016", afterUsd: "0.032", differenceUsd: "0.016", unknown: [] }],
    differenceUsd: "0.016",
  });
  expect(await findSpendLog(database.db, "fast")).toMatchObject({ spend: "0.016" });
  expect(await findSpendLog(database.db, "fast:correction")).toMatchObject({
    spend: "0.016",
    prompt_tokens: 10_990,
    completion_tokens: 495,
    metadata: { correction_of: "fast", repriced: true },
  });
  expect(await syncSpend(database.db, { rate: RATE })).toMatchObject({ adjustments: 1, resolvedReviews: 1 });
  await checkInvariant(database.db);
  const actions = await database.db
    .selectFrom("operator_actions")
    .select(["action", "subject", "operator", "reason", "facts"])
    .where("subject", "=", "fast")
    .execute();
  expect(actions).toMatchObject([
    { action: "row.repriced", operator: "ann", reason: ANN.reason, facts: { before_usd: "0.016", after_usd: "0.032" } },
  ]);
});

test("a preview changes nothing, and a second run neither", async () => {
  await insertKept({ requestId: "twice", spendUsd: "0.016", usage: FAST });

  expect(await previewReprice(database.db, RANGE)).toMatchObject({ changed: [{ requestId: "twice" }] });
  expect(await findSpendLog(database.db, "twice:correction")).toBeUndefined();
  await applyReprice(database.db, RANGE, ANN);

  expect(await applyReprice(database.db, RANGE, ANN)).toMatchObject({ rows: 1, unchanged: 1, changed: [], differenceUsd: "0" });
  expect(await database.db.selectFrom("operator_actions").select("action").where("subject", "=", "twice").execute()).toHaveLength(1);
});

test("what is right stays, what was estimated is not looked at, and a price of config.yaml is the proxy's to know", async () => {
  await insertKept(
    { requestId: "right", spendUsd: "0.032", usage: FAST },
    { requestId: "estimated", spendUsd: "0.5", usage: FAST, estimated: true },
    { requestId: "configured", spendUsd: "0.5", usage: FAST, priceId: "config:mine" },
  );

  expect(await applyReprice(database.db, RANGE, ANN)).toMatchObject({ rows: 2, unchanged: 1, configured: 1, changed: [] });
});

test("a row that was corrected before and should change again is told, and left", async () => {
  await insertKept({ requestId: "again", spendUsd: "0.016", usage: FAST });
  await insertSpendRows(database.db, [{ requestId: "again:correction", spendUsd: "0.001" }]);

  expect(await applyReprice(database.db, RANGE, ANN)).toMatchObject({
    changed: [],
    correctedBefore: [{ requestId: "again", beforeUsd: "0.017", afterUsd: "0.032" }],
  });
});

test("filters by model, request and what had no price; without a reason nothing is written", async () => {
  await insertKept({ requestId: "one", spendUsd: "0.016", usage: FAST }, { requestId: "two", spendUsd: "0.016", usage: FAST });
  await sql`update "LiteLLM_SpendLogs" set metadata = metadata - 'unknown_usage' where request_id = 'two'`.execute(database.db);
  const found = async (filter: object): Promise<readonly string[]> =>
    (await previewReprice(database.db, { ...RANGE, ...filter })).changed.map((row) => row.requestId);

  expect(await found({ requestId: "two" })).toEqual(["two"]);
  expect(await found({ unknownOnly: true })).toEqual(["one"]);
  expect(await found({ model: "anthropic/claude-sonnet-5" })).toEqual([]);
  await expect(applyReprice(database.db, RANGE, { name: "ann", via: "cli" })).rejects.toMatchObject({ code: "invalid_request" });
  expect(await findSpendLog(database.db, "one:correction")).toBeUndefined();
});

test("issue 12: a row of a translated request is read again in its provider's words, not in its caller's", async () => {
  await insertKept({ requestId: "translated", spendUsd: "0.032", usage: FAST, servedCallType: "anthropic_messages" });

  expect(await applyReprice(database.db, RANGE, ANN)).toMatchObject({ rows: 1, unchanged: 1, changed: [] });
});

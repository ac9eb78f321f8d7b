import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ExportFilter } from "./export-db.ts";
import { type ExportFormat, exportEvents } from "./export.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await insertSpendRows(database.db, [
    { requestId: "r1", orgId: "org_a", spendUsd: "0.1", ageMs: 5 * 86_400_000, model: 'a "quoted", model' },
    { requestId: "r2", orgId: "org_b", spendUsd: "1e-12" },
    ...Array.from({ length: 2_500 }, (_, index) => ({ requestId: `many_${index}`, orgId: "org_many", spendUsd: "0.001" })),
  ]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" }, fullSweep: true });
});
afterAll(() => database.drop());

async function exported(
  filter: ExportFilter,
  format: ExportFormat,
): Promise<{ readonly text: string; readonly pages: number; readonly events: number }> {
  const pages: string[] = [];
  const events = await exportEvents(database.db, filter, { format, write: async (lines) => void pages.push(lines) });
  return { text: pages.join(""), pages: pages.length, events };
}

test("CSV has a header, exact amounts and quoted text", async () => {
  const { text } = await exported({ orgId: "org_a" }, "csv");
  const [header, line, end] = text.split("\r\n");

  expect(header).toMatch(/^event_id,event_type,org_id,session_id,request_id,model,/);
  expect(line).toMatch(/,r1,"a ""quoted"", model",10,5,0\.1,3,100,30,\d{4}-\d\d-\d\dT[\d:.]+Z,[^,]+Z,,,$/);
  expect(end).toBe("");
});

test("JSON is one object a line, amounts as text that no reader can round", async () => {
  const { text } = await exported({ orgId: "org_b" }, "json");

  expect(JSON.parse(text)).toMatchObject({ request_id: "r2", spend_usd: "0.000000000001", credits: "0.0000000003", batch_id: null });
});

test("any number of events comes in pages, each once, in order", async () => {
  const { text, pages, events } = await exported({ orgId: "org_many" }, "json");
  const ids = text
    .trimEnd()
    .split("\n")
    .map((line) => Number((JSON.parse(line) as { event_id: string }).event_id));

  expect({ pages, events, distinct: new Set(ids).size }).toEqual({ pages: 3, events: 2_500, distinct: 2_500 });
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
});

test("the range counts from its beginning up to its end, and an empty one is refused before anything is written", async () => {
  const dayAgo = new Date(Date.now() - 86_400_000);
  expect((await exported({ to: dayAgo }, "json")).events).toBe(1);
  expect((await exported({ from: dayAgo }, "json")).events).toBe(2_501);

  await expect(exported({ from: dayAgo, to: dayAgo }, "csv")).rejects.toMatchObject({ code: "invalid_request", param: "from" });
});

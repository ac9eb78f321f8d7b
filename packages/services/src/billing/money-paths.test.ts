import { readdir, readFile } from "node:fs/promises";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { addDecimals } from "@proliferate/shared/money";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "./spend-sync.ts";
import { checkInvariant, insertSpendRows, readLedgerSums } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** From the spend row to the sealed batch; what a sink's wire wants is the sink's affair. */
const FOLDERS = ["billing", "import", "ledger", "rates", "reviews", "settlement"].map((name) => new URL(`../${name}/`, import.meta.url));
const MONEY_PATHS =
  /^(credits|db|source-rows-db|spend-sync|corrections-db|reviews|reviews-db|rate-cards|rate-cards-db|audit|audit-db|retention|retention-db|spend-import|spend-import-db|litellm-spend-api|settlement-db)\.ts$/;
/** Of counts, which are no money. */
const COUNTS = [
  /Number\(result\.numAffectedRows \?\? 0n\)/g,
  /Number\.parseInt\(row\.events, 10\)/g,
  /Number\.parseInt\(found\.comparedRows, 10\)/g,
  /Number\.parseInt\(`\$\{body\.total\}`, 10\)/g,
  /Number\(result\.rows\[0\]\?\.events \?\? 0\)/g,
  /Number\(row\?\.(events|open|undelivered) \?\? 0\)/g,
  /Number\(events\)/g,
  /Number\.(NaN|NEGATIVE_INFINITY|isNaN)/g,
];

it("pitfall 24 precision: no file between a spend row and a sealed batch turns text into a float", async () => {
  const names = await Promise.all(
    FOLDERS.map(async (folder) => (await readdir(folder)).map((name) => ({ name, url: new URL(name, folder) }))),
  );
  const files = names.flat().filter(({ name }) => MONEY_PATHS.test(name));
  expect(files.length).toBe(17);
  const found: string[] = [];
  for (const { name: file, url } of files) {
    const source = COUNTS.reduce((text, count) => text.replace(count, ""), await readFile(url, "utf8"));
    for (const line of source.split("\n")) {
      if (/parseFloat|\bNumber\(|Number\.parse|toFixed|Math\.round|::(real|float4|money)\b|double precision/.test(line))
        found.push(`${file}: ${line.trim()}`);
    }
  }

  expect(found).toEqual([]);
});

it("defect 17 floating money: ten thousand rows of 0.1 and 0.07 sum to the last digit, and a balance beyond a million is no error", async () => {
  await sql`insert into billing_accounts (org_id, balance_credits) values ('org_a', 123456789012.000000000001)`.execute(database.db);
  await insertSpendRows(
    database.db,
    Array.from({ length: 10_000 }, (_, index) => ({ spendUsd: index % 2 === 0 ? "0.1" : "0.07", ageMs: 1_000 + index })),
  );

  expect(await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } })).toMatchObject({
    events: 10_000,
    credits: "255000",
  });

  const account = await database.db.selectFrom("billing_accounts").select("balance_credits").executeTakeFirstOrThrow();
  expect(addDecimals(account.balance_credits ?? "0", "255000")).toBe("123456789012.000000000001");
  await settle(database.db, { sink: new ScriptedSink() });
  expect(await readLedgerSums(database.db)).toMatchObject({ events: "255000", delivered: "255000", carry: "0", open: "0" });
  await checkInvariant(database.db);
});

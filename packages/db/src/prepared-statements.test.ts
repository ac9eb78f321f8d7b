import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { prepared } from "./prepared-statements.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test("a marked statement is parsed once a connection, and others are not kept", async () => {
  await database.db.connection().execute(async (db) => {
    for (const number of [1, 2, 3]) {
      const { rows } = await sql<{ sum: number }>`${prepared("add_one")} select ${number}::integer + 1 as sum`.execute(db);
      expect(rows).toEqual([{ sum: number + 1 }]);
      await sql`select ${number}::integer as unmarked`.execute(db);
    }
    const { rows } = await sql<{
      name: string;
      uses: string;
    }>`select name, generic_plans + custom_plans as uses from pg_prepared_statements`.execute(db);
    expect(rows).toEqual([{ name: "add_one", uses: "3" }]);
  });
});

test("a name stands for one text", async () => {
  await database.db.connection().execute(async (db) => {
    await sql`${prepared("number")} select ${1}::integer as number`.execute(db);
    await expect(sql`${prepared("number")} select ${2}::integer as other`.execute(db)).rejects.toThrow(/number/);
    await expect(sql`${prepared("number")} select ${3}::integer as number`.execute(db)).resolves.toMatchObject({ rows: [{ number: 3 }] });
  });
});

test("a name that could end the mark is refused", () => {
  expect(() => prepared("a */ drop table x; /*")).toThrow(/cannot name/);
});

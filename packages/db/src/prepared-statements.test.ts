import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { preparedStatement } from "./prepared-statements.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test("a prepared statement is parsed once a connection, and others are not kept", async () => {
  const addOne = preparedStatement<{ number: number }, { sum: number }>(
    "add_one",
    ({ number }) => sql`select ${number}::integer + 1 as sum`,
  );
  await database.db.connection().execute(async (db) => {
    for (const number of [1, 2, 3]) {
      expect(await addOne(db, { number })).toEqual([{ sum: number + 1 }]);
      await sql`select ${number}::integer as unmarked`.execute(db);
    }
    const { rows } = await sql<{
      name: string;
      uses: string;
    }>`select name, generic_plans + custom_plans as uses from pg_prepared_statements`.execute(db);
    expect(rows).toEqual([{ name: "add_one", uses: "3" }]);
  });
});

test("a parameter that stands twice is one value, whatever the order in which it is given", async () => {
  const range = preparedStatement<{ from: number; to: number }, { text: string }>(
    "range",
    ({ from, to }) => sql`select concat(${to}::integer, ${from}::integer, ${to}::integer) as text`,
  );
  expect(await range(database.db, { from: 1, to: 2 })).toEqual([{ text: "212" }]);
});

test("a name stands for one text", async () => {
  const one = preparedStatement<{ number: number }>("number", ({ number }) => sql`select ${number}::integer as number`);
  const other = preparedStatement<{ number: number }>("number", ({ number }) => sql`select ${number}::integer as other`);
  await database.db.connection().execute(async (db) => {
    await one(db, { number: 1 });
    await expect(other(db, { number: 2 })).rejects.toThrow(/number/);
    await expect(one(db, { number: 3 })).resolves.toEqual([{ number: 3 }]);
  });
});

test("a value that would stand in the text for good is refused", async () => {
  const forgetful = preparedStatement<object>("forgetful", () => sql`select ${1}::integer`);
  await expect(forgetful(database.db, {})).rejects.toThrow(/no parameter/);
});

test("a name that could end the mark is refused", () => {
  expect(() => preparedStatement("a */ drop table x; /*", () => sql`select 1`)).toThrow(/cannot name/);
});

import { afterAll, beforeAll, expect, test } from "vitest";
import { sql } from "kysely";
import { migrate } from "./migrate.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test("a second run applies nothing", async () => {
  expect(await migrate(database)).toEqual([]);
});

test("two processes that migrate at once both succeed and apply each file once", async () => {
  await sql`drop schema llm_gateway cascade`.execute(database.db);

  const [first, second] = await Promise.all([migrate(database), migrate(database)]);

  expect([...first, ...second].sort()).toEqual([...new Set([...first, ...second])].sort());
  expect(first.length + second.length).toBeGreaterThan(0);
});

test("an applied file that was edited since is refused by name", async () => {
  const { rows } = await sql<{
    checksum: string;
  }>`select checksum from schema_migrations where migration = 'gateway/0001_request_attempts.sql'`.execute(database.db);
  await sql`update schema_migrations set checksum = 'other' where migration = 'gateway/0001_request_attempts.sql'`.execute(database.db);

  await expect(migrate(database)).rejects.toMatchObject({
    code: "migration_failed",
    message: expect.stringContaining("gateway/0001_request_attempts.sql"),
  });
  await sql`update schema_migrations set checksum = ${rows[0]?.checksum} where migration = 'gateway/0001_request_attempts.sql'`.execute(
    database.db,
  );
});

test("LiteLLM's TIMESTAMP columns are read as UTC and its DOUBLEs as exact text", async () => {
  await sql`insert into "LiteLLM_SpendLogs" (request_id, call_type, spend, "startTime", "endTime")
    values ('a', 'acompletion', 0.000123456789012, '2026-11-21 10:00:00', '2026-11-21 10:00:01.5')`.execute(database.db);

  const row = await database.db.selectFrom("LiteLLM_SpendLogs").select(["spend", "endTime"]).executeTakeFirstOrThrow();

  expect(row.endTime.toISOString()).toBe("2026-11-21T10:00:01.500Z");
  expect(row.spend).toBe("0.000123456789012");
});

test("an unreachable server is named as such", async () => {
  await expect(migrate({ connectionString: "postgresql://app@127.0.0.1:1/app" })).rejects.toMatchObject({ code: "database_unreachable" });
});

test("code 20: a file that says so runs statement by statement outside of a transaction, and leaves valid indexes", async () => {
  const { rows } = await sql<{ name: string; is_valid: boolean }>`
    select c.relname as name, i.indisvalid as is_valid from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relname in ('settlement_batches_moving', 'gateway_sessions_keys_left', 'llm_gateway_spend_of_user') order by 1`.execute(
    database.db,
  );

  expect(rows).toEqual(
    ["gateway_sessions_keys_left", "llm_gateway_spend_of_user", "settlement_batches_moving"].map((name) => ({ name, is_valid: true })),
  );
});

test("code 20: a migration that finds a table in use fails after its wait instead of holding everybody up, and succeeds when it is free", async () => {
  const name = "gateway/0031_indexes_of_what_is_new.sql";
  await sql`delete from schema_migrations where migration = ${name}`.execute(database.db);
  const held = Promise.withResolvers<void>();
  const inUse = Promise.withResolvers<void>();
  const holder = database.db.transaction().execute(async (tx) => {
    await sql`lock table settlement_batches in access exclusive mode`.execute(tx);
    inUse.resolve();
    await held.promise;
  });
  await inUse.promise;

  await expect(migrate(database)).rejects.toMatchObject({ code: "migration_failed", message: expect.stringContaining("lock timeout") });
  held.resolve();
  await holder;

  expect(await migrate(database)).toEqual([name]);
});

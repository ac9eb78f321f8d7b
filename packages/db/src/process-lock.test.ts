import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ProcessLock } from "./process-lock.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const LOCK = { lockClass: 77, lockId: 5 };

async function isFree(): Promise<boolean> {
  const { rows } = await sql<{ free: boolean }>`
    select not exists (
      select from pg_locks where locktype = 'advisory' and classid = ${LOCK.lockClass} and objid = ${LOCK.lockId}
         and database = (select oid from pg_database where datname = current_database())
    ) as free`.execute(database.db);
  return rows[0]?.free ?? false;
}

test("the lock is held until it is given back", async () => {
  const lock = await ProcessLock.hold({ connectionString: database.connectionString, ...LOCK });
  expect(await isFree()).toBe(false);

  await lock.stop();

  await expect.poll(isFree).toBe(true);
});

test("a lock whose connection was ended by the server is taken again", async () => {
  const events: string[] = [];
  const held = Promise.withResolvers<void>();
  const lock = await ProcessLock.hold({
    connectionString: database.connectionString,
    ...LOCK,
    onLost: () => events.push("lost"),
    onHeld: () => {
      events.push("held");
      held.resolve();
    },
  });

  await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'llm-gateway process lock'
               and datname = current_database()`.execute(database.db);
  await held.promise;

  expect(events).toEqual(["lost", "held"]);
  expect(await isFree()).toBe(false);
  await lock.stop();
});

test("of two processes one leads, until it resigns, stops, or loses its connection", async () => {
  const hold = async (lockId: number): Promise<ProcessLock> =>
    ProcessLock.hold({ connectionString: database.connectionString, lockClass: LOCK.lockClass, lockId });
  const one = await hold(6);
  const other = await hold(7);
  const [first, second] = [one.leader("sweep"), other.leader("sweep")];

  expect([await first.lead(), await first.lead(), await second.lead()]).toEqual([true, true, false]);
  expect(await other.leader("another sweep").lead()).toBe(true);
  await second.resign();
  expect(await second.lead()).toBe(false);
  await first.resign();
  expect([await second.lead(), await first.lead()]).toEqual([true, false]);

  await sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = ${LOCK.lockClass} and objid = 7
               and database = (select oid from pg_database where datname = current_database())`.execute(database.db);
  await expect.poll(() => first.lead()).toBe(true);
  // One whose connection has just been ended leads until it hears of it.
  await expect.poll(() => second.lead().catch(() => false)).toBe(false);
  await one.stop();
  await expect.poll(() => second.lead().catch(() => false)).toBe(true);
  await other.stop();
});

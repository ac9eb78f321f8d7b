import { sql } from "kysely";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { ChannelListener } from "./channel-listener.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const CHANNEL = 'A "channel" of the test';

function listen(connectionString = database.connectionString): { readonly heard: string[]; readonly states: string[] } {
  const heard: string[] = [];
  const states: string[] = [];
  const listener = new ChannelListener({
    connectionString,
    channel: CHANNEL,
    onNotice: (payload) => heard.push(payload),
    onHearing: () => states.push("hearing"),
    onDeaf: () => states.push("deaf"),
  });
  onTestFinished(() => listener.stop());
  return { heard, states };
}

const tell = async (payload: string): Promise<void> => void (await sql`select pg_notify(${CHANNEL}, ${payload})`.execute(database.db));
const listeners = async (): Promise<number> => {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from pg_stat_activity where application_name = 'llm-gateway notices' and datname = current_database()`.execute(
    database.db,
  );
  return rows[0]?.count ?? 0;
};

test("notices are heard in order, those of a transaction that is rolled back are not, and nothing stays open after the end", async () => {
  const { heard, states } = listen();
  await expect.poll(() => states.length).toBeGreaterThan(0);

  await tell("one");
  await database.db
    .transaction()
    .execute(async (tx) => {
      await sql`select pg_notify(${CHANNEL}, 'never')`.execute(tx);
      throw new Error("rolled back");
    })
    .catch(() => undefined);
  await tell("two");

  await expect.poll(() => heard).toEqual(["one", "two"]);
  expect(states).toEqual(["hearing"]);
});

test("code 18: a connection that the server ended is made again, and that it heard nothing meanwhile is said", async () => {
  const { heard, states } = listen();
  await expect.poll(() => states.length).toBeGreaterThan(0);

  await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'llm-gateway notices'
               and datname = current_database()`.execute(database.db);
  await expect.poll(() => states.length).toBeGreaterThanOrEqual(3);
  await tell("after");

  await expect.poll(() => heard).toEqual(["after"]);
  expect(states).toEqual(["hearing", "deaf", "hearing"]);
});

test("a listener whose database is away says so once and can be stopped", async () => {
  const { states } = listen("postgresql://nobody@127.0.0.1:1/none");
  await expect.poll(() => states.length).toBeGreaterThan(0);
  expect(states).toEqual(["deaf"]);
  await expect.poll(listeners).toBe(0);
});

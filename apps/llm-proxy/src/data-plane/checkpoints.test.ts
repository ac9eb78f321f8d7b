import { randomUUID } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import type { AttemptCheckpoint } from "@proliferate/access/requests";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { NO_USAGE } from "@proliferate/metering/usage";
import type { Logger } from "@proliferate/runtime";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Checkpoints } from "./checkpoints.ts";

let database: TestDatabase;
beforeAll(async () => void (database = await createTestDatabase()));
afterAll(async () => database.drop());

test("hostile 7: the checkpoints of five hundred answers are twenty statements a round, not five hundred, and none stores so many that the event loop waits", async () => {
  const ids = await insertAttempts(500);
  let reads = 0;
  let readBefore = 0;
  let mostOfAStatement = 0;
  const counted = countStatements(database.db, () => {
    mostOfAStatement = Math.max(mostOfAStatement, reads - readBefore);
    readBefore = reads;
  });
  const checkpoints = new Checkpoints({ db: counted.db, logger: silent(), everyMs: 1 });
  const ends = ids.map((id, index) => follow(checkpoints, id, () => ((reads += 1), ofTokens(index + 1))));
  await expect.poll(async () => outputTokensOf(ids)).toEqual(ids.map((_, index) => index + 1));
  for (const end of ends) end();
  await checkpoints.stop();

  expect(counted.statements()).toBeGreaterThan(0);
  expect(counted.statements()).toBeLessThanOrEqual(Math.ceil(reads / 500) * 20);
  expect(mostOfAStatement).toBeLessThanOrEqual(25);
});

test("an answer of which nothing came since its checkpoint costs no statement, and what was not stored is stored later", async () => {
  const [still = "", moving = ""] = await insertAttempts(2);
  let isDown = true;
  let stillReads = 0;
  let tokens = 0;
  const checkpoints = new Checkpoints({ db: failingWhile(database.db, () => isDown), logger: silent(), everyMs: 1 });
  checkpoints.follow(still, { progress: () => 1, read: () => ((stillReads += 1), ofTokens(5)) });
  checkpoints.follow(moving, { progress: () => tokens, read: () => ofTokens(tokens) });
  await expect.poll(() => stillReads).toBeGreaterThan(1);
  expect(await outputTokensOf([still])).toEqual([null]);
  isDown = false;
  await expect.poll(async () => outputTokensOf([still])).toEqual([5]);
  const reads = stillReads;
  for (let round = 1; round <= 5; round += 1) {
    tokens = round;
    await expect.poll(async () => outputTokensOf([moving])).toEqual([round]);
  }
  await checkpoints.stop();

  expect(stillReads).toBe(reads);
});

test("an attempt that is followed no more is not read, and what runs is over when it stops", async () => {
  const [first = "", second = ""] = await insertAttempts(2);
  const checkpoints = new Checkpoints({ db: database.db, logger: silent(), everyMs: 1 });
  const end = follow(checkpoints, first, () => ofTokens(7));
  await expect.poll(async () => outputTokensOf([first])).toEqual([7]);
  end();
  await checkpoints.stop();
  const again = new Checkpoints({ db: database.db, logger: silent(), everyMs: 1 });
  follow(again, first, () => ofTokens(8))();
  follow(again, second, () => ofTokens(9));
  await expect.poll(async () => outputTokensOf([second])).toEqual([9]);
  await again.stop();

  expect(await outputTokensOf([first])).toEqual([7]);
});

test("a checkpoint that the store never takes costs no other attempt its own", async () => {
  const ids = await insertAttempts(10);
  await sql`alter table request_attempts add constraint no_poison check (checkpoint ->> 'providerResponseId' <> 'poison')`.execute(
    database.db,
  );
  const warnings: unknown[] = [];
  const checkpoints = new Checkpoints({ db: database.db, logger: silent(warnings), everyMs: 1 });
  ids.forEach((id, index) => follow(checkpoints, id, () => ({ ...ofTokens(index), providerResponseId: index === 3 ? "poison" : "msg_1" })));
  await expect.poll(async () => outputTokensOf(ids)).toEqual(ids.map((_, index) => (index === 3 ? null : index)));
  await checkpoints.stop();

  expect(warnings.every((facts) => JSON.stringify(facts).includes(ids[3] ?? "?"))).toBe(true);
});

/** An answer that progresses from round to round. */
function follow(checkpoints: Checkpoints, id: string, read: () => AttemptCheckpoint): () => void {
  let progress = 0;
  return checkpoints.follow(id, { read, progress: () => (progress += 1) });
}

const ofTokens = (outputTokens: number) => ({ usage: { ...NO_USAGE, outputTokens }, providerResponseId: null, firstByteAt: null });

function silent(warnings: unknown[] = []): Logger {
  return { warn: (facts: unknown) => void warnings.push(facts) } as unknown as Logger;
}

function countStatements(db: DatabaseClient, before: () => void = () => undefined): { readonly db: DatabaseClient; statements(): number } {
  let count = 0;
  const act = (): void => {
    count += 1;
    before();
  };
  return { db: beforeEachStatement(db, act), statements: () => count };
}

function failingWhile(db: DatabaseClient, isDown: () => boolean): DatabaseClient {
  return beforeEachStatement(db, () => {
    if (isDown()) throw new Error("the store is away");
  });
}

/** The database, with something that happens before each statement that was prepared. */
function beforeEachStatement(db: DatabaseClient, act: () => void): DatabaseClient {
  return new Proxy(db, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...options: unknown[]): unknown => {
        if (name === "executeQuery") act();
        return value.apply(target, options);
      };
    },
  });
}

async function insertAttempts(count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, () => randomUUID());
  const attempt = {
    ...{ instance_id: 1, key_hash: "0".repeat(64), team_id: null, user_id: null, key_alias: null, end_user: null },
    ...({ dialect: "anthropic", provider: "anthropic" } as const),
    ...{ call_type: "anthropic_messages", model_group: "m", model: "m", price_id: "m" },
    ...{ client_session_id: null, requester_ip_address: null, reserved_usd: "0", estimated_input_tokens: 10, max_output_tokens: 10 },
    hidden_tokens_per_second: 0,
    requested_model: null,
    request_tags: null,
  };
  await database.db
    .insertInto("request_attempts")
    .values(ids.map((attempt_id) => ({ ...attempt, attempt_id })))
    .execute();
  return ids;
}

/** What is on record of each attempt, in the order of the ids; null where nothing is. */
async function outputTokensOf(ids: readonly string[]): Promise<readonly (number | null)[]> {
  const { rows } = await sql<{ tokens: number | null }>`
    select (a.checkpoint -> 'usage' ->> 'outputTokens')::integer as tokens
      from unnest(${ids as string[]}::uuid[]) with ordinality as i (id, at) left join request_attempts a on a.attempt_id = i.id
     where a.checkpointed_at is not null or a.checkpoint is null order by i.at`.execute(database.db);
  return rows.map(({ tokens }) => tokens);
}

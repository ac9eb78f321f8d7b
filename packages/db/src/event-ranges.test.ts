import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { type RawBuilder, sql } from "kysely";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { type DatabaseClient, openDatabase } from "./client.ts";
import { migrate } from "./migrate.ts";
import { onServer, withDatabaseName } from "./test-database.ts";

const GATEWAY = new URL("../migrations/gateway/", import.meta.url);

let name: string;
let connectionString: string;
let db: DatabaseClient;
beforeEach(async () => {
  name = `gateway_test_${randomBytes(6).toString("hex")}`;
  await onServer(inject("postgresServer"), `create database ${name}`);
  connectionString = withDatabaseName(inject("postgresServer"), name);
  db = openDatabase({ connectionString });
  await migrateUntil("0012");
});
afterEach(async () => {
  await db.destroy();
  await onServer(inject("postgresServer"), `drop database ${name} with (force)`);
});

/** What a deployment has that was installed before the migration with this number. */
async function migrateUntil(number: string): Promise<void> {
  await migrate({ connectionString, sets: ["litellm"] });
  for (const file of (await readdir(GATEWAY)).toSorted().filter((one) => one < number)) {
    const text = await readFile(new URL(file, GATEWAY), "utf8");
    await onServer(connectionString, `begin; set local search_path = llm_gateway; ${text}; commit`);
    await sql`insert into schema_migrations (migration, checksum) values (${`gateway/${file}`}, ${createHash("sha256").update(text).digest("hex")})`.execute(
      db,
    );
  }
}

const uuid = (number: number): string => `00000000-0000-8000-8000-${String(number).padStart(12, "0")}`;

async function insertBatch(orgId: string, sequence: number, batch: number): Promise<void> {
  await sql`
    with account as (insert into billing_accounts (org_id, last_batch_sequence) values (${orgId}, ${sequence}) on conflict (org_id) do update set last_batch_sequence = ${sequence})
    insert into settlement_batches (batch_id, org_id, sequence, idempotency_key, event_count, spend_usd, events_credits, carry_in, carry_out, credits)
    values (${uuid(batch)}, ${orgId}, ${sequence}, ${uuid(batch)}, 1, 1, 1, 0, 0, 1)`.execute(db);
}

async function insertEvent(eventId: number, orgId: string, batch: number | null): Promise<void> {
  await sql`
    with event as (
      insert into billing_events (event_id, idempotency_key, org_id, request_id, model, prompt_tokens, completion_tokens, spend_usd, markup, credits_per_usd, credits, occurred_at, recorded_at, batch_id)
      values (${eventId}, ${`llm:${eventId}`}, ${orgId}, ${`${eventId}`}, 'm', 1, 1, 0.5, 2, 1, 1, now(), now(), ${batch === null ? null : uuid(batch)})
      returning event_id, recorded_at
    )
    insert into billing_event_keys (idempotency_key, event_id, recorded_at) select ${`llm:${eventId}`}, event_id, recorded_at from event`.execute(
    db,
  );
}

const read = async (statement: RawBuilder<unknown>): Promise<readonly unknown[]> => (await statement.execute(db)).rows;

test("0012 turns the batches of events into ranges that adjoin, retired months included, and counts what is open", async () => {
  for (const [org, sequence, batch] of [
    ["org_a", 1, 11],
    ["org_a", 2, 12],
    ["org_a", 3, 13],
    ["org_b", 1, 21],
  ] as const)
    await insertBatch(org, sequence, batch);
  // The events of org_a's first batch are retired.
  for (const [event, org, batch] of [
    [3, "org_a", 12],
    [4, "org_b", 21],
    [5, "org_a", 12],
    [7, "org_a", 13],
    [8, "org_a", null],
    [9, "org_b", null],
    [10, "org_a", null],
    [11, "org_c", null],
  ] as const) {
    await insertEvent(event, org, batch);
  }

  await migrate({ connectionString });

  expect(
    await read(sql`select sequence, org_id, after_event_id, through_event_id from settlement_batches order by org_id, sequence`),
  ).toEqual([
    { sequence: 1, org_id: "org_a", after_event_id: "0", through_event_id: "0" },
    { sequence: 2, org_id: "org_a", after_event_id: "0", through_event_id: "5" },
    { sequence: 3, org_id: "org_a", after_event_id: "5", through_event_id: "7" },
    { sequence: 1, org_id: "org_b", after_event_id: "0", through_event_id: "4" },
  ]);
  expect(
    await read(
      sql`select org_id, last_event_id, sealed_event_id, open_event_count, trim_scale(open_credits) as open_credits from billing_accounts order by org_id`,
    ),
  ).toEqual([
    { org_id: "org_a", last_event_id: "10", sealed_event_id: "7", open_event_count: 2, open_credits: "2" },
    { org_id: "org_b", last_event_id: "9", sealed_event_id: "4", open_event_count: 1, open_credits: "1" },
    { org_id: "org_c", last_event_id: "11", sealed_event_id: "0", open_event_count: 1, open_credits: "1" },
  ]);
  expect(
    await read(sql`select count(*)::int as keys from billing_event_keys k join billing_events e using (org_id, event_id, recorded_at)`),
  ).toEqual([{ keys: 8 }]);
});

test("0012 refuses a ledger in which an event lies among another batch's, by name, and changes nothing", async () => {
  for (const [sequence, batch] of [
    [1, 11],
    [2, 12],
  ] as const)
    await insertBatch("org_a", sequence, batch);
  for (const [event, batch] of [
    [1, 11],
    [2, 12],
    [3, 11],
  ] as const)
    await insertEvent(event, "org_a", batch);

  await expect(migrate({ connectionString })).rejects.toMatchObject({
    code: "migration_failed",
    message: expect.stringMatching(/event 2 of organization org_a is in batch \S+12, but lies among the events of batch \S+11/),
  });

  expect(await read(sql`select batch_id from billing_events where event_id = 2`)).toEqual([{ batch_id: uuid(12) }]);
});

test.each([
  ["with usage", 1],
  ["without any", 0],
])("0012 applies to a fresh ledger %s", async (_, events) => {
  if (events > 0) await insertEvent(1, "org_a", null);

  expect(await migrate({ connectionString })).toContain("gateway/0012_event_ranges.sql");
});

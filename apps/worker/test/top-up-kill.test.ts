import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { setTopUpPolicy } from "@proliferate/services/top-up";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import pg from "pg";
import { until } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startWorkerProcess, type WorkerProcess } from "./worker-process.ts";

/** A worker killed with -9 at each step of a purchase: the pack is bought once, and its credits arrive once. */

const SECRET_KEY = "am_sk_test_top_up";
/** The test holds this advisory lock; a statement that asks for it stands still. */
const GATE_LOCK = 4_711;

let database: TestDatabase;
let autumn: AutumnEmulator;
let admin: pg.Client;
const workers: WorkerProcess[] = [];
beforeEach(async () => {
  [database, autumn] = await Promise.all([createTestDatabase(), startAutumnEmulator({ secretKey: SECRET_KEY })]);
  admin = new pg.Client({ connectionString: database.connectionString, options: "-c search_path=llm_gateway" });
  await admin.connect();
  await admin.query(
    `create function stand_still() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(${GATE_LOCK}); return new; end $$`,
  );
  await admin.query(`select pg_advisory_lock(${GATE_LOCK})`);
  autumn.grant("org_a", "10");
  await setTopUpPolicy(database.db, "org_a", { planId: "pack", packCredits: "1000", thresholdCredits: "50" });
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.end("SIGKILL")));
  await admin.end();
  await Promise.all([autumn.stop(), database.drop()]);
});

async function start(): Promise<WorkerProcess> {
  const intervals = { LLM_SYNC_INTERVAL_MS: "500", OUTBOX_INTERVAL_MS: "500", GATE_INTERVAL_MS: "500", BALANCE_INTERVAL_MS: "200" };
  const worker = await startWorkerProcess({
    DATABASE_URL: database.connectionString,
    AUTUMN_API_KEY: SECRET_KEY,
    AUTUMN_API_URL: autumn.url,
    AUTUMN_CLIENT: "http",
    ...intervals,
  });
  workers.push(worker);
  return worker;
}

const attaches = () => autumn.calls.filter((call) => call.path.endsWith("/billing.attach"));
const packs = () => database.db.selectFrom("top_ups").select(["state", "pack_number", "attempt_count"]).execute();
const balance = async () =>
  (await database.db.selectFrom("billing_accounts").select("balance_credits").where("org_id", "=", "org_a").executeTakeFirst())
    ?.balance_credits;
const passes = async (): Promise<number> =>
  Number(
    (await database.db.selectFrom("worker_passes").select("succeeded_at").where("job", "=", "org-balances").executeTakeFirst())
      ?.succeeded_at ?? 0,
  );

/** The worker stands still where the trigger fires; it is killed there, and its statement is lost with it, or comes to its end without it. */
async function killAt(trigger: string, statement: "is lost" | "is done"): Promise<void> {
  const table = /on (\w+)/.exec(trigger)?.[1] ?? "";
  await admin.query(`create trigger stand_still ${trigger} execute function stand_still()`);
  const worker = await start();
  const waiting = async (): Promise<readonly { pid: number }[]> =>
    (
      await admin.query<{ pid: number }>(
        `select pid from pg_locks where locktype = 'advisory' and objid = ${GATE_LOCK} and not granted and database = (select oid from pg_database where datname = current_database())`,
      )
    ).rows;
  const blocked = await until(waiting, (rows) => rows.length > 0);
  await worker.end("SIGKILL");
  if (statement === "is lost") for (const { pid } of blocked) await admin.query("select pg_terminate_backend($1)", [pid]);
  else await admin.query(`select pg_advisory_unlock(${GATE_LOCK})`);
  await until(
    async () => (await admin.query("select 1 from pg_stat_activity where pid = any($1)", [blocked.map(({ pid }) => pid)])).rows.length,
    (count) => count === 0,
  );
  await admin.query(`drop trigger stand_still on ${table}`);
}

/** Another worker comes; the time of the dead one's claims has passed, and what its queue knew is gone. */
async function goOn(): Promise<void> {
  await admin.query("update top_ups set lease_until = now() where lease_until is not null");
  await admin.query("update org_gates set reconcile_retry_at = null");
  await admin.query("drop schema bullmq cascade");
  await start();
}

interface Outcome {
  readonly packs: readonly { readonly state: string; readonly pack_number: number }[];
  /** At Autumn, and by our books. */
  readonly remote: string | undefined;
  readonly local: string | null | undefined;
}

/** What stands once the pack is `state` and the balance could be read, and after a few more passes. */
async function outcome(state: "paid" | "unknown"): Promise<Outcome> {
  await until(packs, (rows) => rows[0]?.state === state && (state === "paid" || rows[0].attempt_count >= 2));
  await until(balance, (local) => Number(local) === Number(autumn.remaining("org_a")));
  const before = await passes();
  await until(passes, (after) => after > before + 400);
  return {
    packs: (await packs()).map((pack) => ({ state: pack.state, pack_number: pack.pack_number })),
    remote: autumn.remaining("org_a"),
    local: await balance(),
  };
}

const BOUGHT_ONCE: Outcome = { packs: [{ state: "paid", pack_number: 1 }], remote: "1010", local: "1010" };

const PLANNED = "before insert on top_ups for each row";
const CLAIMED = "before update on top_ups for each row when (old.attempt_count < new.attempt_count)";
const RECORDED = "before update on top_ups for each row when (new.state = 'paid')";
const CREDITED = "before insert on balance_reconciliations for each row when (new.trigger = 'top_up')";

test.each([
  ["the pack is put on record", "is lost", PLANNED],
  ["the pack is claimed", "is lost", CLAIMED],
  ["the pack is claimed", "is done", CLAIMED],
  ["the answer is recorded", "is lost", RECORDED],
  ["the answer is recorded", "is done", RECORDED],
  ["the credits are read", "is lost", CREDITED],
] as const)("killed while %s, and the statement %s", async (_step, statement, trigger) => {
  await killAt(trigger, statement);
  await goOn();

  expect(await outcome("paid")).toEqual(BOUGHT_ONCE);
});

test("killed while Autumn works on it, and Autumn comes to its end", async () => {
  autumn.failNext({ kind: "hang", applied: true });
  const worker = await start();
  await until(
    async () => attaches().length,
    (count) => count === 1,
  );
  await worker.end("SIGKILL");
  await goOn();

  expect(await outcome("paid")).toEqual(BOUGHT_ONCE);
  expect(attaches().length).toBeGreaterThan(1);
});

test("killed while Autumn works on it, and Autumn does nothing: nobody knows, nothing is bought again, and no credits appear", async () => {
  autumn.failNext({ kind: "hang", applied: false });
  const worker = await start();
  await until(
    async () => attaches().length,
    (count) => count === 1,
  );
  await worker.end("SIGKILL");
  await goOn();

  expect(await outcome("unknown")).toEqual({ packs: [{ state: "unknown", pack_number: 1 }], remote: "10", local: "10" });
});

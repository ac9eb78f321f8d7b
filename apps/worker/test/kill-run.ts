import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { applySettings, connectionConfig, type DatabaseClient, migrate, openDatabase, sessionSettings } from "@proliferate/db";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@proliferate/db/embedded";
import { customerIdForOrg } from "@proliferate/services/sinks";
import { checkInvariant, checkLedger, insertSpendRows } from "@proliferate/services/test/test-ledger";
import { addDecimals } from "@proliferate/shared/money";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { seededRandom } from "@proliferate/testing/test-random";
import { patience } from "@proliferate/testing/test-patience";
import { Redis } from "ioredis";
import pg from "pg";
import { startWorkerProcess, type WorkerProcess } from "./worker-process.ts";

/** What is done to the processes, in order and over again: mostly workers die, at times the store does, or the queue forgets. */
const EVENTS = [
  "worker",
  "worker",
  "queue",
  "worker",
  "postgres_crash",
  "worker",
  "worker",
  "postgres_restart",
  "worker",
  "worker",
  "worker",
] as const;
const ORGS = ["org_a", "org_b", "org_c", "acme.io", "org_e"];
const ROWS_PER_BURST = 40;
const BURST_INTERVAL_MS = 40;
/** At most, between two events: a slow machine gets as many rows as a fast one, and its checks do not grow without end. */
const BURSTS_PER_TURN = 12;
const WORKERS = 2;
const FAULTS = ["reset_after_apply", "hang_applied", "server_error", "too_many_requests", "none", "none"] as const;

interface KillRunOptions {
  /** kill -9 of a worker, so many times. */
  readonly kills: number;
  /** An empty folder for PostgreSQL's data; the caller removes it. */
  readonly folder: string;
  /** Keeps the workers' schedules in this Redis, which is flushed; default: in PostgreSQL, whose queue tables are emptied. */
  readonly redisUrl?: string | undefined;
  readonly onProgress?: (report: KillReport) => void;
}

/** What was done, and what became of every row. */
interface KillReport {
  kills: number;
  postgresRestarts: number;
  postgresCrashes: number;
  queueFlushes: number;
  spendRows: number;
  batches: number;
  /** Calls that reached Autumn; more than batches where answers were lost. */
  autumnCalls: number;
  /** Spend rows without an event, or with more than one. */
  lostRows: number;
  doubledRows: number;
  sourceUsd: string;
  ledgerUsd: string;
  deliveredCredits: string;
  autumnCredits: string;
}

/**
 * Real workers under load against a real, durable PostgreSQL and the Autumn emulator: they are killed at random points,
 * PostgreSQL is restarted and killed, the queue is emptied. Throws as soon as the ledger does not add up; resolves when all
 * load is delivered, with the sums for the caller to compare.
 */
export async function runKills(options: KillRunOptions): Promise<KillReport> {
  const run = new KillRun(options);
  try {
    await run.open();
    return await run.play();
  } finally {
    await run.close();
  }
}

class KillRun {
  readonly #options: KillRunOptions;
  readonly #random = seededRandom("kills of workers");
  readonly #workers = new Set<WorkerProcess>();
  readonly #report: KillReport = {
    kills: 0,
    postgresRestarts: 0,
    postgresCrashes: 0,
    queueFlushes: 0,
    spendRows: 0,
    batches: 0,
    autumnCalls: 0,
    lostRows: 0,
    doubledRows: 0,
    sourceUsd: "0",
    ledgerUsd: "0",
    deliveredCredits: "0",
    autumnCredits: "0",
  };
  #postgres!: EmbeddedPostgres;
  #db!: DatabaseClient;
  #pool!: pg.Pool;
  #autumn!: AutumnEmulator;
  #isLoading = true;
  #burstsLeft = BURSTS_PER_TURN;
  #isStoreUp = true;

  constructor(options: KillRunOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    this.#postgres = await startEmbeddedPostgres({ dataFolder: join(this.#options.folder, "postgres") });
    await migrate({ connectionString: this.#postgres.connectionString });
    this.#db = openDatabase({ connectionString: this.#postgres.connectionString, applicationName: "kill-run" });
    this.#pool = new pg.Pool({
      ...connectionConfig({ connectionString: this.#postgres.connectionString }),
      onConnect: (client: pg.ClientBase) => applySettings(client, sessionSettings()),
    });
    this.#pool.on("error", () => undefined);
    this.#autumn = await startAutumnEmulator();
    for (const org of ORGS) this.#autumn.grant(customerIdForOrg(org), "1000000");
  }

  async play(): Promise<KillReport> {
    await Promise.all(Array.from({ length: WORKERS }, () => this.#startWorker()));
    const load = this.#load();
    for (let turn = 0; this.#report.kills < this.#options.kills; turn += 1) {
      this.#burstsLeft = BURSTS_PER_TURN;
      this.#spoilNextCall();
      await delay(20 + this.#random() * 300);
      await this.#make(EVENTS[turn % EVENTS.length] ?? "worker");
      await checkLedger(this.#db);
      await checkInvariant(this.#db);
      await this.#letTimePass();
      this.#options.onProgress?.(this.#report);
    }
    this.#isLoading = false;
    await load;
    await this.#untilAllIsDelivered();
    await this.#sumUp();
    return this.#report;
  }

  async close(): Promise<void> {
    this.#isLoading = false;
    await Promise.all([...this.#workers].map((worker) => worker.end("SIGKILL")));
    await this.#db?.destroy();
    await this.#pool?.end();
    await this.#autumn?.stop();
    await this.#postgres?.stop();
  }

  async #make(event: (typeof EVENTS)[number]): Promise<void> {
    if (event === "worker") {
      const [victim] = [[...this.#workers][Math.floor(this.#random() * this.#workers.size)]];
      if (!victim) return;
      this.#workers.delete(victim);
      await victim.end("SIGKILL");
      this.#report.kills += 1;
      await this.#startWorker();
    } else if (event === "queue") {
      await this.#flushQueue();
      this.#report.queueFlushes += 1;
    } else {
      await this.#restartPostgres(event === "postgres_crash");
      this.#report[event === "postgres_crash" ? "postgresCrashes" : "postgresRestarts"] += 1;
    }
  }

  async #startWorker(): Promise<void> {
    this.#workers.add(
      await startWorkerProcess({
        DATABASE_URL: this.#postgres.connectionString,
        AUTUMN_API_KEY: "am_sk_test_1",
        AUTUMN_API_URL: this.#autumn.url,
        LLM_SYNC_INTERVAL_MS: "100",
        OUTBOX_INTERVAL_MS: "150",
        ...(this.#options.redisUrl ? { REDIS_URL: this.#options.redisUrl } : {}),
      }),
    );
  }

  /** Rows arrive all the time; while the store is away their engine waits. */
  async #load(): Promise<void> {
    for (; this.#isLoading; await delay(BURST_INTERVAL_MS)) {
      if (this.#burstsLeft <= 0) continue;
      this.#burstsLeft -= 1;
      const rows = Array.from({ length: ROWS_PER_BURST }, (_, index) => ({
        orgId: ORGS[index % ORGS.length] ?? null,
        spendUsd: String(this.#random() / 10),
        ageMs: this.#random() * 60_000,
      }));
      // A burst that broke off may be there or not: what the source holds at the end is what counts.
      await insertSpendRows(this.#db, rows).catch((error: unknown) => {
        if (this.#isStoreUp && this.#isLoading && !isBroken(error)) throw error;
      });
    }
  }

  #spoilNextCall(): void {
    const fault = FAULTS[Math.floor(this.#random() * FAULTS.length)];
    if (fault === "reset_after_apply") this.#autumn.failNext({ kind: "reset_after_apply" });
    if (fault === "hang_applied") this.#autumn.failNext({ kind: "hang", applied: true });
    if (fault === "server_error") this.#autumn.failNext({ kind: "status", status: 500 });
    if (fault === "too_many_requests") this.#autumn.failNext({ kind: "status", status: 429, code: "rate_limit_exceeded" });
  }

  async #restartPostgres(isCrash: boolean): Promise<void> {
    this.#isStoreUp = false;
    const { port, dataFolder } = this.#postgres;
    if (isCrash) await killServer(dataFolder);
    await this.#postgres.stop();
    this.#postgres = await untilStarted(() => startEmbeddedPostgres({ dataFolder: join(this.#options.folder, "postgres"), port }));
    await untilStarted(() => this.#pool.query("select 1"));
    this.#isStoreUp = true;
  }

  /** Everything that the queue knows: schedules, jobs, locks. */
  async #flushQueue(): Promise<void> {
    if (this.#options.redisUrl) {
      const redis = new Redis(this.#options.redisUrl);
      await redis.flushdb();
      redis.disconnect();
      return;
    }
    // The queue locks its tables in an order of its own; where PostgreSQL ends our side of a deadlock, nothing was emptied yet.
    for (let isEmptied = false; !isEmptied;) {
      isEmptied = await this.#pool
        .query(`do $$ begin execute (
          select 'truncate ' || string_agg(format('%I.%I', schemaname, tablename), ', ') || ' cascade' from pg_tables
          where schemaname = 'bullmq' and tablename not like '%migration%'); end $$`)
        .then(
          () => true,
          (error: { code?: string }) => (error.code === "40P01" ? false : Promise.reject(error)),
        );
    }
  }

  /** Lets the leases of the dead, and the waits of the living, be over, as time would. */
  async #letTimePass(): Promise<void> {
    await this.#db.deleteFrom("settlement_org_backoff").execute();
    await this.#db.deleteFrom("settlement_circuits").execute();
    await this.#db
      .updateTable("settlement_batches")
      .set({ next_attempt_at: new Date(0), lease_until: new Date(0) })
      .where("state", "in", ["sending", "unknown", "sealed"])
      .execute();
  }

  async #untilAllIsDelivered(): Promise<void> {
    const deadline = performance.now() + patience(180_000);
    let timePassesAt = 0;
    for (;;) {
      // Not more often: a call takes its time, and who loses its lease before the answer has to make it again.
      if (performance.now() >= timePassesAt) {
        await this.#letTimePass();
        timePassesAt = performance.now() + 5_000;
      }
      await delay(250);
      const { rows } = await this.#pool.query<{ left: string }>(`
        select (select count(*) from "LiteLLM_SpendLogs" s where not exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || s.request_id))
          + (select coalesce(sum(open_event_count), 0) from billing_accounts) + (select count(*) from settlement_batches where state <> 'delivered') as left`);
      if (rows[0]?.left === "0") return;
      if (performance.now() > deadline)
        throw new Error(`${rows[0]?.left} rows or batches are not delivered three minutes after the last kill`);
    }
  }

  /** Every sum from its own source: the spend table added up here, the ledger, Autumn's record. */
  async #sumUp(): Promise<void> {
    const report = this.#report;
    const source = await this.#db.selectFrom("LiteLLM_SpendLogs").select("spend").execute();
    const { rows } = await this.#pool.query<{ events: string; requests: string; usd: string; batches: string; delivered: string }>(`
      select (select count(*) from billing_events) as events, (select count(distinct request_id) from billing_events) as requests,
        (select trim_scale(coalesce(sum(spend_usd), 0)) from billing_events) as usd, (select count(*) from settlement_batches) as batches,
        (select trim_scale(coalesce(sum(credits), 0)) from settlement_batches where state = 'delivered') as delivered`);
    const ledger = rows[0];
    if (!ledger) return;
    report.spendRows = source.length;
    report.sourceUsd = addDecimals(...source.map((row) => row.spend));
    report.ledgerUsd = ledger.usd;
    report.lostRows = source.length - Number(ledger.requests);
    report.doubledRows = Number(ledger.events) - Number(ledger.requests);
    report.batches = Number(ledger.batches);
    report.deliveredCredits = ledger.delivered;
    report.autumnCredits = addDecimals(...ORGS.map((org) => this.#autumn.deducted(customerIdForOrg(org))));
    report.autumnCalls = this.#autumn.calls.filter((call) => call.path.endsWith("track")).length;
  }
}

/** The store went away under the statement. */
function isBroken(error: unknown): boolean {
  const { code, message } = error as { code?: string; message: string };
  return /^(57P0|08|ECONN|EPIPE)/.test(code ?? "") || /terminated|ended|destroyed/.test(message);
}

/** kill -9 of the server and of its own children: one that is busy would outlive it for a while, and hold its memory. */
async function killServer(dataFolder: string): Promise<void> {
  const [pid = ""] = (await readFile(join(dataFolder, "postmaster.pid"), "utf8")).split("\n");
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  for (const victim of [pid, ...children.trim().split(" ")].filter((id) => id !== "")) {
    try {
      process.kill(Number(victim), "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** A server that was killed a moment ago may still hold its memory. */
async function untilStarted<Value>(start: () => Promise<Value>): Promise<Value> {
  const deadline = performance.now() + patience(20_000);
  for (;;) {
    try {
      return await start();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(100);
    }
  }
}

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type DatabaseClient, migrate, openDatabase } from "@proliferate/db";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@proliferate/db/embedded";
import { reconcileDeliveries } from "@proliferate/services/comparison";
import { createAutumnSink } from "@proliferate/services/sinks";
import { checkInvariant, checkLedger, insertSpendRows } from "@proliferate/services/test/test-ledger";
import { addDecimals, compareDecimals } from "@proliferate/shared/money";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { startWorkerProcess, type WorkerProcess } from "../../apps/worker/test/worker-process.ts";
import { type OrgWait, readWaits } from "./waits.ts";
import { SPOILED_ORGS, spoilAll } from "./spoiled-orgs.ts";

interface FaultRunOptions {
  readonly client: "autumn-js" | "http";
  /** How long spend keeps coming. */
  readonly loadMs: number;
  /** How long after that everything may take to be delivered. */
  readonly settleMs: number;
  /** An empty folder for PostgreSQL's data; the caller removes it. */
  readonly folder: string;
  readonly onProgress: (line: string) => void;
}

export interface FaultReport {
  readonly client: string;
  readonly isAlive: boolean;
  readonly batches: number;
  /** Calls that were spoiled, by org. */
  readonly spoiled: Readonly<Record<string, number>>;
  readonly waits: readonly OrgWait[];
  /** What does not hold; empty when all does. */
  readonly violations: readonly string[];
}

const GOOD_ORGS = Array.from({ length: 12 }, (_, index) => `good_${index}`);
const KEY = "am_sk_test_faults";
const LOAD_INTERVAL_MS = 1_500;
const WAVES = 3;
/** The intervals of the passes and a busy machine; far below the 15 s for which a silent answer is waited. */
const LONGEST_WAIT_MS = 8_000;

/** One worker, one client, all faults at once, beside orgs of which nothing is spoiled. Never throws for what it finds. */
export async function runFaults(options: FaultRunOptions): Promise<FaultReport> {
  const run = new FaultRun(options);
  try {
    await run.open();
    return await run.play();
  } finally {
    await run.close();
  }
}

class FaultRun {
  readonly #options: FaultRunOptions;
  #postgres!: EmbeddedPostgres;
  #db!: DatabaseClient;
  #autumn!: AutumnEmulator;
  #worker!: WorkerProcess;
  #rows = 0;

  constructor(options: FaultRunOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    this.#postgres = await startEmbeddedPostgres({ dataFolder: join(this.#options.folder, "postgres") });
    await migrate({ connectionString: this.#postgres.connectionString });
    this.#db = openDatabase({ connectionString: this.#postgres.connectionString, applicationName: "fault-run" });
    this.#autumn = await startAutumnEmulator({ secretKey: KEY });
    for (const orgId of this.#orgIds) this.#autumn.grantPlan(orgId, { planId: "pro", granted: "1000000" });
    this.#worker = await startWorkerProcess({
      DATABASE_URL: this.#postgres.connectionString,
      AUTUMN_API_KEY: KEY,
      AUTUMN_API_URL: this.#autumn.url,
      AUTUMN_CLIENT: this.#options.client,
      LLM_SYNC_INTERVAL_MS: "500",
      OUTBOX_INTERVAL_MS: "1000",
      BALANCE_INTERVAL_MS: "1000",
      RECONCILE_INTERVAL_MS: "5000",
    });
  }

  get #orgIds(): readonly string[] {
    return [...GOOD_ORGS, ...SPOILED_ORGS.map((org) => org.orgId)];
  }

  async play(): Promise<FaultReport> {
    const spoiled = spoilAll(this.#autumn);
    const startedAt = performance.now();
    let wavesLeft = WAVES;
    for (let round = 0; performance.now() - startedAt < this.#options.loadMs && this.#isAlive; round += 1) {
      // Those that are spoiled use something in a few waves: each of their batches takes its time.
      const isWave = performance.now() - startedAt >= ((WAVES - wavesLeft) / WAVES) * this.#options.loadMs;
      if (isWave) wavesLeft -= 1;
      const orgIds = isWave ? this.#orgIds : GOOD_ORGS;
      await insertSpendRows(
        this.#db,
        orgIds.map((orgId) => ({ orgId, spendUsd: `0.0${1 + (round % 9)}3` })),
      );
      this.#rows += orgIds.length;
      await delay(LOAD_INTERVAL_MS);
      if (round % 10 === 0) await this.#tell(startedAt);
    }
    this.#autumn.unspoil();
    await this.#untilDelivered();
    await this.#tell(startedAt);
    return this.#report(spoiled);
  }

  get #isAlive(): boolean {
    return this.#worker.child.exitCode === null && this.#worker.child.signalCode === null;
  }

  async #untilDelivered(): Promise<void> {
    const endAt = performance.now() + this.#options.settleMs;
    while (performance.now() < endAt && this.#isAlive) {
      this.#autumn.drainQueue();
      const open = await this.#db.selectFrom("settlement_batches").select("batch_id").where("state", "<>", "delivered").execute();
      const accounts = await this.#db.selectFrom("billing_accounts").select("open_event_count").where("open_event_count", ">", 0).execute();
      const events = await this.#db
        .selectFrom("billing_events")
        .select((of) => of.fn.countAll<string>().as("count"))
        .executeTakeFirst();
      if (open.length === 0 && accounts.length === 0 && Number(events?.count) === this.#rows) return;
      await delay(500);
    }
  }

  async #tell(startedAt: number): Promise<void> {
    const batches = await this.#db.selectFrom("settlement_batches").select(["state"]).execute();
    const delivered = batches.filter((batch) => batch.state === "delivered").length;
    this.#options.onProgress(
      `${this.#options.client}: ${Math.round((performance.now() - startedAt) / 1_000)} s, ${this.#rows} spend rows, ${delivered} of ${batches.length} batches delivered, worker ${this.#isAlive ? "alive" : "gone"}`,
    );
  }

  async #report(spoiled: ReadonlyMap<string, number>): Promise<FaultReport> {
    const violations = [...(await this.#ledgerViolations()), ...(await this.#sumViolations())];
    for (const [orgId, count] of spoiled) if (count === 0) violations.push(`nothing of ${orgId} was spoiled`);
    if (!this.#isAlive) violations.push(`the worker ended: ${this.#worker.log().slice(-1_000)}`);
    if (this.#worker.log().includes("process.crashed")) violations.push("the worker reported a crash");
    const waits = await readWaits(this.#db);
    for (const wait of waits)
      if (wait.longestMs > LONGEST_WAIT_MS) violations.push(`a batch of ${wait.orgId} waited ${wait.longestMs} ms beyond its own back-off`);
    const batches = waits.reduce((sum, wait) => sum + wait.batches, 0);
    return { client: this.#options.client, isAlive: this.#isAlive, batches, spoiled: Object.fromEntries(spoiled), waits, violations };
  }

  async #ledgerViolations(): Promise<readonly string[]> {
    const found: string[] = [];
    for (const check of [checkLedger, checkInvariant])
      await check(this.#db).catch((error: unknown) => found.push((error as Error).message));
    const open = await this.#db
      .selectFrom("settlement_batches")
      .select(["org_id", "state", "last_error_code"])
      .where("state", "<>", "delivered")
      .execute();
    for (const batch of open) found.push(`a batch of ${batch.org_id} is ${batch.state} (${batch.last_error_code ?? "no error"})`);
    return found;
  }

  /** What Autumn lost by itself (a claimed key without its deduction) is found and made good by a comparison; then every sum is exact. */
  async #sumViolations(): Promise<readonly string[]> {
    const { ledger } = createAutumnSink({
      secretKey: KEY,
      serverUrl: this.#autumn.url,
      apiVersion: "2.3.0",
      featureId: "credits",
      client: "http",
    });
    if (ledger) await reconcileDeliveries(this.#db, ledger, { dryRun: false, corrections: "apply", quietMs: 0 });
    const rows = await this.#db.selectFrom("settlement_batches").select(["org_id", "credits"]).where("state", "=", "delivered").execute();
    const found: string[] = [];
    for (const orgId of this.#orgIds) {
      const delivered = addDecimals(...rows.filter((row) => row.org_id === orgId).map((row) => row.credits));
      const taken = this.#autumn.deducted(orgId);
      if (compareDecimals(delivered, taken) !== 0) found.push(`${orgId}: ${delivered} credits are delivered, Autumn took ${taken}`);
      if (compareDecimals(delivered, "0") === 0) found.push(`${orgId}: nothing is delivered`);
    }
    return found;
  }

  async close(): Promise<void> {
    await this.#worker?.end("SIGKILL");
    await this.#db?.destroy();
    await this.#autumn?.stop();
    await this.#postgres?.stop();
  }
}

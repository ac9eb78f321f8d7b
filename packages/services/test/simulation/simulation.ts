import { addDecimals, compareDecimals, multiplyDecimals, normalizeDecimal } from "@proliferate/shared/money";
import { parkedDelayMs, retryDelayMs } from "../../src/billing/backoff.ts";
import { reconcileDeliveries } from "../../src/billing/reconcile-deliveries.ts";
import { redriveBatch } from "../../src/billing/settlement-db.ts";
import { settle } from "../../src/billing/settlement.ts";
import type { SettlementLedgerView, SettlementSink } from "../../src/billing/sink.ts";
import { syncSpend } from "../../src/billing/spend-sync.ts";
import { AutumnModel } from "./autumn-model.ts";
import { type ExpectedBilling, findUnfinished, findViolation } from "./invariants.ts";
import { type Mutation, NO_MUTATION } from "./mutations.ts";
import { HOUR, type Move, ORGS, type Schedule } from "./schedule.ts";
import { SimulatedProcess, type Step } from "./simulated-process.ts";
import type { SimulationDatabase } from "./simulation-database.ts";
import { isBillable, SpendWriters } from "./spend-writers.ts";
import { StepRunner } from "./step-runner.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** What became of a schedule. */
export interface SimulationResult {
  readonly violation: string | undefined;
  /** Every move, step and call in order; equal for equal schedules. */
  readonly trace: readonly string[];
  readonly steps: number;
}

/** No process stands still between its decision to call and its call for longer; then the call's own time-out ends it. */
const LONGEST_STALL_MS = 30 * 60 * 1_000;
/** Autumn works off what it accepted by then: nothing is concluded from the absence of a deduction before. */
const LONGEST_QUEUE_MS = 9 * 60 * 1_000;
/** The end comes after so many rounds of time and work; the last ones find nothing to do. */
const CLOSING_ROUNDS = 8;

/** Runs a schedule on an empty database and looks for violations after every step. */
export async function simulate(database: SimulationDatabase, schedule: Schedule, mutation: Mutation = NO_MUTATION): Promise<SimulationResult> {
  await database.empty();
  const simulation = new Simulation(database, schedule, mutation);
  try {
    const violation = (await simulation.playMoves()) ?? (await simulation.finish());
    return simulation.resultWith(violation);
  } finally {
    await simulation.stop();
  }
}

class Simulation {
  readonly #database: SimulationDatabase;
  readonly #schedule: Schedule;
  readonly #mutation: Mutation;
  readonly #clock = new VirtualClock();
  readonly #autumn = new AutumnModel(() => this.#clock.nowMs);
  readonly #runner: StepRunner;
  readonly #writers: SpendWriters;
  readonly #workers = new Map<number, SimulatedProcess>();
  readonly #cuts = new Map<number, boolean>();
  readonly #trace: string[] = [];
  #failure: string | undefined;
  #steps = 0;

  constructor(database: SimulationDatabase, schedule: Schedule, mutation: Mutation) {
    this.#database = database;
    this.#schedule = schedule;
    this.#mutation = mutation;
    this.#runner = new StepRunner(database.observer);
    this.#writers = new SpendWriters(database.writers, this.#clock);
    this.#autumn.skewMs = schedule.autumnSkewMs;
  }

  resultWith(violation: string | undefined): SimulationResult {
    return { violation, trace: this.#trace, steps: this.#steps };
  }

  async playMoves(): Promise<string | undefined> {
    for (const move of this.#schedule.moves) {
      const violation = await this.#play(move);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  async #play(move: Move): Promise<string | undefined> {
    this.#trace.push(`# ${JSON.stringify(move)}`);
    switch (move.kind) {
      case "work":
        return this.#work(move);
      case "crash":
        return this.#crash(move.worker);
      case "cut":
        return void this.#cuts.set(move.worker, move.isExecuted);
      case "write":
        await this.#writers.write(move.transaction, move.rows);
        return this.#check();
      case "reprice":
        await this.#writers.reprice(move.roll, move.spendUsd);
        return this.#check();
      case "refund":
        await this.#writers.refund(move.roll, move.share);
        return this.#check();
      case "end_write":
        await this.#writers.end(move.transaction, move.isCommitted ? "commit" : "rollback");
        return this.#check();
      case "time":
        return this.#passTime(move.passMs);
      case "clock":
        if (move.whose === "autumn") this.#autumn.skewMs += move.byMs;
        else this.#setDatabaseClock(move.byMs);
        return undefined;
      case "faults":
        return void this.#autumn.spoil(move.faults);
      case "outage":
        this.#autumn.isDown = move.isDown;
        return undefined;
      case "queue":
        this.#autumn.finishQueue(move.isApplied);
        return this.#check();
      case "customer":
        return void this.#autumn.customers.set(move.org, move.state);
      case "redrive":
        return this.#redrive(move.roll);
    }
  }

  async #work(move: Move & { readonly kind: "work" }): Promise<string | undefined> {
    const process = this.#workerAt(move.worker);
    for (let step = 0; step < move.steps; step += 1) {
      if (!process.job) await process.begin(this.#jobOf(process, (move.roll + step * 0.37) % 1), (error) => this.#noteFailure(error));
      if (move.until !== undefined && process.waiting.some((waiting) => waiting.label.startsWith(move.until ?? ""))) return undefined;
      const next = process.waiting.splice(Math.floor(move.roll * process.waiting.length), 1)[0];
      if (!next) return undefined;
      const violation = await this.#step(move.worker, next);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  async #step(worker: number, step: Step): Promise<string | undefined> {
    this.#steps += 1;
    const isExecuted = step.kind === "statement" ? this.#cuts.get(worker) : undefined;
    this.#trace.push(`${worker} ${step.label}${isExecuted === undefined ? "" : isExecuted ? " [executed, then cut]" : " [cut]"}`);
    if (isExecuted === undefined) {
      await this.#runner.perform(step);
    } else {
      this.#cuts.delete(worker);
      await this.#runner.cut(step, isExecuted);
    }
    await this.#runner.settleBlocked();
    return this.#failure ?? (step.label.startsWith("select") ? undefined : this.#check());
  }

  #workerAt(index: number): SimulatedProcess {
    let process = this.#workers.get(index);
    if (!process) {
      process = new SimulatedProcess({ clients: this.#database.pools[index] ?? [], clock: this.#clock, rewrite: this.#mutation.rewrite });
      this.#workers.set(index, process);
    }
    return process;
  }

  #jobOf(process: SimulatedProcess, roll: number): () => Promise<unknown> {
    const rate = { markup: this.#schedule.markup, creditsPerUsd: "100" };
    if (roll < 0.06) return () => reconcileDeliveries(process.db, this.#viewOf(process), { dryRun: false });
    if (roll < 0.5) return () => syncSpend(process.db, { rate, chunkRows: 3, fullSweep: roll < 0.12 });
    return () =>
      settle(process.db, {
        sink: this.#mutation.sink(this.#sinkOf(process)),
        concurrency: 2,
        passTimeoutMs: Number.POSITIVE_INFINITY,
        retryDelayMs: (options) => retryDelayMs({ ...options, random: 0.5 }),
        parkedDelayMs: () => parkedDelayMs({ random: 0.5 }),
      });
  }

  /** A call is two steps: it reaches Autumn, and its answer reaches the process. A crash between them loses the answer. */
  #sinkOf(process: SimulatedProcess): SettlementSink {
    return {
      name: "autumn_model",
      deliver: async (delivery) => {
        const outcome = await process.wait(`call ${delivery.idempotencyKey}`, async () => this.#autumn.receive(delivery));
        this.#trace.push(`  ${delivery.orgId} ${delivery.credits}: ${outcome.kind} ${outcome.code ?? ""}`);
        return process.wait(`answer ${delivery.idempotencyKey}`, async () => outcome);
      },
    };
  }

  /** Autumn's books, as a process reads them. */
  #viewOf(process: SimulatedProcess): SettlementLedgerView {
    return {
      listDeductions: (orgId) => process.wait(`list ${orgId}`, async () => this.#autumn.listDeductions(orgId)),
      readUsage: (orgId) => process.wait(`usage ${orgId}`, async () => this.#autumn.deducted(orgId)),
      correct: (correction) => process.wait(`correct ${correction.idempotencyKey}`, async () => this.#autumn.correct(correction)),
    };
  }

  async #crash(worker: number): Promise<string | undefined> {
    const process = this.#workers.get(worker);
    if (!process) return undefined;
    this.#workers.delete(worker);
    this.#cuts.delete(worker);
    await process.kill(() => this.#runner.cancel(process));
    await this.#runner.settleBlocked();
    return this.#check();
  }

  async #passTime(ms: number): Promise<string | undefined> {
    this.#clock.pass(ms);
    if (ms > LONGEST_QUEUE_MS) this.#autumn.finishQueue(true);
    for (const [index, process] of this.#workers) {
      for (const step of process.waiting.filter((waiting) => waiting.label.startsWith("call ") && this.#clock.nowMs - waiting.sinceMs > LONGEST_STALL_MS)) {
        process.waiting.splice(process.waiting.indexOf(step), 1);
        this.#trace.push(`${index} ${step.label} [timed out before it was sent]`);
        await step.fail(new Error("timed out"));
      }
    }
    return this.#failure;
  }

  /** Autumn's clock is what it was; so is every start of a wait. */
  #setDatabaseClock(byMs: number): void {
    this.#clock.pass(byMs);
    this.#autumn.skewMs -= byMs;
  }

  async #redrive(roll: number): Promise<string | undefined> {
    const { rows } = await this.#database.observer.query<{ batch_id: string }>("select batch_id from settlement_batches where state in ('parked', 'dead', 'unapplied') order by org_id, sequence");
    const batch = rows[Math.floor(roll * rows.length)];
    if (!batch) return undefined;
    const person = new SimulatedProcess({ clients: [this.#database.observer], clock: this.#clock, rewrite: this.#mutation.rewrite });
    await person.begin(() => redriveBatch(person.db, batch.batch_id), (error) => this.#noteFailure(error));
    for (let step = person.waiting.shift(); step; step = person.waiting.shift()) await this.#runner.perform(step);
    return this.#failure ?? this.#check();
  }

  /** The faults are over and time goes on: what is left then stays left. */
  async finish(): Promise<string | undefined> {
    this.#trace.push("# the end");
    this.#autumn.heal();
    for (const org of ORGS) this.#autumn.customers.set(org, "ready");
    await this.#writers.endAll();
    const living = [...this.#workers.keys()];
    for (const worker of living) {
      const violation = await this.#crash(worker);
      if (violation !== undefined) return violation;
    }
    this.#autumn.finishQueue(true);
    const sync = (process: SimulatedProcess) => this.#jobOf(process, 0.1)();
    const settleAll = (process: SimulatedProcess) => this.#jobOf(process, 0.9)();
    const reconcile = (process: SimulatedProcess) => reconcileDeliveries(process.db, this.#viewOf(process), { dryRun: false, corrections: "apply", quietMs: 0 });
    for (let round = 0; round < CLOSING_ROUNDS; round += 1) {
      const violation = (await this.#redriveAll()) ?? (await this.#closingPass(sync)) ?? (await this.#closingPass(settleAll)) ?? (await this.#closingPass(reconcile));
      if (violation !== undefined) return violation;
      this.#clock.pass(HOUR / 3);
      if ((await findUnfinished(this.#database.observer, this.#autumn, this.#expected())) === undefined) return undefined;
    }
    return findUnfinished(this.#database.observer, this.#autumn, this.#expected());
  }

  async #redriveAll(): Promise<string | undefined> {
    for (let roll = 0; roll < 1; roll += 0.1) {
      const violation = await this.#redrive(roll);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  /** One whole pass of a worker of its own. */
  async #closingPass(job: (process: SimulatedProcess) => Promise<unknown>): Promise<string | undefined> {
    const process = this.#workerAt(0);
    await process.begin(() => job(process), (error) => this.#noteFailure(error));
    for (let step = process.waiting.shift(); step; step = process.waiting.shift()) {
      const violation = await this.#step(0, step);
      if (violation !== undefined) return violation;
    }
    return this.#failure;
  }

  #check(): Promise<string | undefined> {
    return findViolation(this.#database.observer, this.#autumn);
  }

  #noteFailure(error: unknown): void {
    const { code, message } = error as { code?: unknown; message: string };
    if (code === "08006") return;
    this.#failure ??= `a worker failed: ${message}`;
  }

  #expected(): ExpectedBilling {
    const rows = [...this.#writers.committed.values()];
    const billable = rows.filter(isBillable);
    const creditsByOrg = new Map<string, string>();
    for (const row of billable) {
      const refunded = addDecimals(normalizeDecimal(row.spendUsd), normalizeDecimal(this.#writers.refunds.get(row.requestId) ?? "0"));
      const spendUsd = compareDecimals(refunded, "0") < 0 ? "0" : refunded;
      const credits = multiplyDecimals(multiplyDecimals(spendUsd, this.#schedule.markup), "100");
      creditsByOrg.set(row.org ?? "", addDecimals(creditsByOrg.get(row.org ?? "") ?? "0", credits));
    }
    return { requests: billable.length, reviews: rows.length - billable.length, creditsByOrg };
  }

  async stop(): Promise<void> {
    for (const process of this.#workers.values()) {
      await process.kill(() => this.#runner.cancel(process));
    }
    await this.#writers.endAll();
  }
}

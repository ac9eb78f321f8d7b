import { reconcileDueOrgs } from "../../src/balance/reconcile-balance.ts";
import { auditCompleteness } from "../../src/billing/audit.ts";
import { parkedDelayMs, retryDelayMs } from "../../src/settlement/backoff.ts";
import { decideBatch } from "../../src/decisions/decide-batch.ts";
import { addRateCard } from "../../src/rates/rate-cards.ts";
import { reconcileDeliveries } from "../../src/comparison/reconcile-deliveries.ts";
import { mapReview } from "../../src/reviews/reviews.ts";
import { redriveBatch } from "../../src/settlement/settlement-db.ts";
import { settle } from "../../src/settlement/settlement.ts";
import type { SettlementLedgerView } from "../../src/sinks/port/sink.ts";
import { syncSpend } from "../../src/billing/spend-sync.ts";
import { AutumnModel, GRANTED_CREDITS } from "./autumn-model.ts";
import { type AutumnPort, openAutumnPort } from "./autumn-port.ts";
import { Decisions } from "./decisions.ts";
import { findUnfinished, findViolation } from "./invariants.ts";
import { type Mutation, NO_MUTATION } from "./mutations.ts";
import { HOUR, type Move, ORGS, type Schedule } from "./schedule.ts";
import { SimulatedProcess, type Step } from "@proliferate/db/test/simulated-process";
import { FIRST_READING, OPEN_FINDINGS, type OpenFinding, RESTORABLE_EVENTS, type SimulationDatabase } from "./simulation-database.ts";
import { SpendWriters } from "./spend-writers.ts";
import { StepRunner } from "@proliferate/db/test/step-runner";
import { TRAFFIC_SEATS } from "./traffic.ts";
import { TrafficPlayer } from "@proliferate/access/test/limit-model/play";
import { VirtualClock } from "@proliferate/db/test/virtual-clock";

/** What became of a schedule. */
interface SimulationResult {
  readonly violation: string | undefined;
  /** Every move, step and call in order; equal for equal schedules. */
  readonly trace: readonly string[];
  readonly steps: number;
}

/** Below what the digits of a balance of so many credits tell, after as many deliveries as the longest schedules make. */
const isTooSmallToTell = (credits: string): boolean => Number(credits) < Number(GRANTED_CREDITS) * 2e-14 * 200;

/** No process stands still between its decision to call and its call for longer; then the call's own time-out ends it. */
const LONGEST_STALL_MS = 30 * 60 * 1_000;
/** Autumn works off what it accepted by then: nothing is concluded from the absence of a deduction before. */
const LONGEST_QUEUE_MS = 9 * 60 * 1_000;
/** The end comes after so many rounds of time and work; the last ones find nothing to do. */
const CLOSING_ROUNDS = 8;

/** Runs a schedule on an empty database and looks for violations after every step. */
export async function simulate(
  database: SimulationDatabase,
  schedule: Schedule,
  mutation: Mutation = NO_MUTATION,
): Promise<SimulationResult> {
  await database.empty();
  const simulation = new Simulation(database, schedule, mutation);
  try {
    await simulation.openTraffic();
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
  /** What a person has asked a worker's machine to do next. */
  readonly #tasks = new Map<number, (process: SimulatedProcess) => Promise<unknown>>();
  readonly #decisions: Decisions;
  /** Our own proxies, where the schedule has them. */
  #traffic: TrafficPlayer | undefined;
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
    this.#decisions = new Decisions(schedule.markup);
  }

  resultWith(violation: string | undefined): SimulationResult {
    return { violation, trace: this.#trace, steps: this.#steps };
  }

  async openTraffic(): Promise<void> {
    const { limits } = this.#schedule;
    if (!limits) return;
    const stage = {
      database: this.#database,
      clock: this.#clock,
      runner: this.#runner,
      rewrite: this.#mutation.rewrite,
      trace: this.#trace,
    };
    this.#traffic = await TrafficPlayer.open(stage, { seats: TRAFFIC_SEATS, limits });
  }

  /** After each move of the proxies: what they settled has to be billed. */
  async #playTraffic(play: (traffic: TrafficPlayer) => Promise<string | undefined>): Promise<string | undefined> {
    if (!this.#traffic) return undefined;
    const before = this.#traffic.rows.length;
    const violation = await play(this.#traffic);
    this.#writers.adopt(this.#traffic.rows);
    return violation ?? (this.#traffic.rows.length > before ? this.#check() : undefined);
  }

  async playMoves(): Promise<string | undefined> {
    if (this.#schedule.hasBalances) await this.#database.observer.query(FIRST_READING, [ORGS, GRANTED_CREDITS, this.#clock.timestamp()]);
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
        return void this.#autumn.setCustomer(move.org, move.state);
      case "forget":
        this.#autumn.forget(move.org, move.what);
        return this.#check();
      case "redrive":
        return this.#redrive(move.roll);
      case "rate_card":
        return this.#addRateCard(move.org, move.markup);
      case "map":
        return this.#planMapping(move.worker, move.roll, move.org);
      case "traffic":
        return this.#playTraffic((traffic) => traffic.play(move.command));
      case "lose_event":
        return undefined;
    }
  }

  async #work(move: Move & { readonly kind: "work" }): Promise<string | undefined> {
    const process = this.#workerAt(move.worker);
    for (let step = 0; step < move.steps; step += 1) {
      if (!process.job)
        await process.begin(this.#taskOf(move.worker, process) ?? this.#jobOf(process, (move.roll + step * 0.37) % 1), (error) =>
          this.#noteFailure(error),
        );
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

  #taskOf(worker: number, process: SimulatedProcess): (() => Promise<unknown>) | undefined {
    const task = this.#tasks.get(worker);
    this.#tasks.delete(worker);
    return task && (() => task(process));
  }

  #jobOf(process: SimulatedProcess, roll: number): () => Promise<unknown> {
    const rate = this.#rate();
    if (roll >= 0.95 && this.#schedule.hasBalances)
      return () => reconcileDueOrgs(process.db, { remote: this.#portOf(process).balances, rate, everyMs: 0 });
    if (roll < 0.06) return () => reconcileDeliveries(process.db, this.#ledgerOf(process), { dryRun: false });
    if (roll < 0.5) return () => syncSpend(process.db, { rate, chunkRows: 3, fullSweep: roll < 0.12 });
    return () =>
      settle(process.db, {
        sink: this.#portOf(process).sink,
        concurrency: 2,
        // Time is the schedule's alone.
        slowAfterMs: Number.POSITIVE_INFINITY,
        attemptTimeoutMs: Number.POSITIVE_INFINITY,
        askTimeoutMs: Number.POSITIVE_INFINITY,
        passTimeoutMs: Number.POSITIVE_INFINITY,
        retryDelayMs: (options) => retryDelayMs({ ...options, random: 0.5 }),
        parkedDelayMs: () => parkedDelayMs({ random: 0.5 }),
      });
  }

  #rate(): { readonly markup: string; readonly creditsPerUsd: string } {
    return { markup: this.#schedule.markup, creditsPerUsd: "100" };
  }

  #portOf(process: SimulatedProcess): AutumnPort {
    return openAutumnPort(process, {
      autumn: this.#autumn,
      clock: this.#clock,
      trace: this.#trace,
      overage: this.#schedule.overage,
      mutation: this.#mutation,
    });
  }

  #ledgerOf(process: SimulatedProcess): SettlementLedgerView {
    const { ledger } = this.#portOf(process).sink;
    if (!ledger) throw new Error("the sink keeps no record");
    return ledger;
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
      for (const step of process.waiting.filter(
        (waiting) => waiting.label.startsWith("call ") && this.#clock.nowMs - waiting.sinceMs > LONGEST_STALL_MS,
      )) {
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
    const { rows } = await this.#database.observer.query<{ batch_id: string }>(
      "select batch_id from settlement_batches where state in ('parked', 'dead') or (state = 'unapplied' and last_error_code <> 'no_balance') order by org_id, sequence",
    );
    const batch = rows[Math.floor(roll * rows.length)];
    if (!batch) return undefined;
    return this.#doByHand((person) => redriveBatch(person.db, batch.batch_id));
  }

  /** At one go: nobody else holds a lock that it needs. */
  async #doByHand(act: (person: SimulatedProcess) => Promise<unknown>): Promise<string | undefined> {
    const person = new SimulatedProcess({ clients: [this.#database.observer], clock: this.#clock, rewrite: this.#mutation.rewrite });
    await person.begin(
      () => act(person),
      (error) => this.#noteFailure(error),
    );
    for (let step = person.waiting.shift(); step; step = person.waiting.shift()) await this.#runner.perform(step);
    return this.#failure ?? this.#check();
  }

  /** Valid from a moment at which no request began yet, whatever the clocks did: what was billed before is not concerned. */
  async #addRateCard(org: string | undefined, markup: string): Promise<string | undefined> {
    const fromMs = this.#decisions.addCard(org, markup, Math.max(this.#writers.latestStartMs, this.#clock.nowMs));
    return this.#doByHand((person) => addRateCard(person.db, { orgId: org, markup, creditsPerUsd: "100", validFrom: new Date(fromMs) }));
  }

  async #planMapping(worker: number, roll: number, org: string): Promise<string | undefined> {
    const { rows } = await this.#database.observer.query<{ request_id: string }>(
      "select request_id from spend_reviews where reason = 'no_org' and resolved_at is null order by review_key",
    );
    const open = rows.filter((row) => !this.#decisions.owners.has(row.request_id));
    const requestId = open[Math.floor(roll * open.length)]?.request_id;
    if (requestId === undefined) return undefined;
    this.#decisions.owners.set(requestId, org);
    this.#tasks.set(worker, (process) => this.#map(process, requestId, org));
    return undefined;
  }

  #map(process: SimulatedProcess, requestId: string, org: string): Promise<unknown> {
    return mapReview(process.db, `id:${requestId}`, org, { rate: this.#rate() });
  }

  /** The faults are over and time goes on: what is left then stays left. */
  async finish(): Promise<string | undefined> {
    this.#trace.push("# the end");
    this.#autumn.heal();
    for (const org of ORGS) this.#autumn.setCustomer(org, "ready");
    await this.#writers.endAll();
    const living = [...this.#workers.keys()];
    for (const worker of living) {
      const violation = await this.#crash(worker);
      if (violation !== undefined) return violation;
    }
    const overrun = await this.#playTraffic((traffic) => traffic.finish());
    if (overrun !== undefined) return overrun;
    this.#autumn.finishQueue(true);
    const sync = (process: SimulatedProcess) => this.#jobOf(process, 0.1)();
    const settleAll = (process: SimulatedProcess) => this.#jobOf(process, 0.9)();
    const reconcile = (process: SimulatedProcess) =>
      reconcileDeliveries(process.db, this.#ledgerOf(process), { dryRun: false, corrections: "apply", quietMs: 0 });
    const readBalances = (process: SimulatedProcess) => this.#jobOf(process, 0.99)();
    for (let round = 0; round < CLOSING_ROUNDS; round += 1) {
      const violation =
        (await this.#redriveAll()) ??
        (await this.#mapAll()) ??
        (await this.#closingPass(sync)) ??
        (await this.#closingPass(settleAll)) ??
        (await this.#closingPass(reconcile)) ??
        (await this.#decideAll()) ??
        (await this.#closingPass(readBalances));
      if (violation !== undefined) return violation;
      this.#clock.pass(HOUR / 3);
      if ((await this.#unfinished()) === undefined) return this.#loseAndHeal();
    }
    return this.#unfinished();
  }

  #unfinished(): Promise<string | undefined> {
    return findUnfinished(this.#database.observer, this.#autumn, this.#decisions.expect(this.#writers));
  }

  /** What a person asked for and a crash prevented is asked for again. */
  async #mapAll(): Promise<string | undefined> {
    for (const [requestId, org] of this.#decisions.owners) {
      const violation = await this.#closingPass((process) => this.#map(process, requestId, org));
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  /** Events vanish; the completeness audit must tell each of them, and put all back as they were. */
  async #loseAndHeal(): Promise<string | undefined> {
    const { observer } = this.#database;
    let lost = 0;
    for (const move of this.#schedule.moves) {
      if (move.kind !== "lose_event") continue;
      const { rows } = await observer.query<{ event_id: string }>(RESTORABLE_EVENTS);
      const eventId = rows[Math.floor(move.roll * rows.length)]?.event_id;
      if (eventId === undefined) continue;
      this.#trace.push(`  event ${eventId} is lost`);
      await observer.query(
        `set session_replication_role = replica; delete from billing_events where event_id = ${eventId}; set session_replication_role = default`,
      );
      lost += 1;
    }
    if (lost === 0) return undefined;
    const before = await this.#auditAll();
    if (before.found < 1 || before.found > lost) return `${lost} events are lost, the audit tells of ${before.found} rows`;
    const after = await this.#auditAll();
    if (after.found > 0) return `the audit healed ${before.found} rows, and still tells of ${after.found}`;
    return this.#failure ?? (await this.#check()) ?? this.#unfinished();
  }

  async #auditAll(): Promise<{ readonly found: number }> {
    let found = 0;
    const range = { from: new Date(this.#clock.nowMs - 400 * 24 * HOUR), to: new Date(this.#clock.nowMs + 24 * HOUR) };
    const process = this.#workerAt(0);
    await process.begin(
      async () => ({ missingRows: found } = await auditCompleteness(process.db, { ...range, heal: true, rate: this.#rate() })),
      (error) => this.#noteFailure(error),
    );
    // Not looked at in between: until it is healed, it is broken.
    for (let step = process.waiting.shift(); step; step = process.waiting.shift()) await this.#runner.perform(step);
    return { found };
  }

  async #redriveAll(): Promise<string | undefined> {
    for (let roll = 0; roll < 1; roll += 0.1) {
      const violation = await this.#redrive(roll);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  /**
   * Where Autumn's list and its balance contradict each other, an amount is too small for its digits, or no comparison came before the
   * loss, a person looks at the balance and decides.
   */
  async #decideAll(): Promise<string | undefined> {
    const { rows } = await this.#database.observer.query<OpenFinding>(OPEN_FINDINGS);
    for (const { batch_id: batchId, org_id: orgId, counts_as_taken: countsAsTaken, is_never_noted: isNeverNoted, expected } of rows) {
      if (!this.#autumn.isConfusing(orgId) && !isTooSmallToTell(expected) && !isNeverNoted) continue;
      const wasTaken = countsAsTaken || this.#autumn.keptOf(batchId) !== "0";
      // Also of a batch that nobody counted yet: a balance that holds it twice is brought to once.
      if (wasTaken) this.#autumn.makeGood(batchId, orgId, expected);
      const violation = await this.#doByHand((person) =>
        decideBatch(person.db, batchId, { wasTaken, operator: { name: "a person", via: "simulation", reason: "looked at the balance" } }),
      );
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  /** One whole pass of a worker of its own. */
  async #closingPass(job: (process: SimulatedProcess) => Promise<unknown>): Promise<string | undefined> {
    const process = this.#workerAt(0);
    await process.begin(
      () => job(process),
      (error) => this.#noteFailure(error),
    );
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

  async stop(): Promise<void> {
    await this.#traffic?.stop();
    for (const process of this.#workers.values()) {
      await process.kill(() => this.#runner.cancel(process));
    }
    await this.#writers.endAll();
  }
}

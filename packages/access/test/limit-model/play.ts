import { SimulatedProcess, type Step } from "@proliferate/db/test/simulated-process";
import { StepRunner } from "@proliferate/db/test/step-runner";
import { VirtualClock } from "@proliferate/db/test/virtual-clock";
import { type Command, type LimitPlan, type Plan, type Seat, SEATS } from "./commands.ts";
import { readFacts, type RowFact } from "./facts.ts";
import { LimitModel } from "./model.ts";
import type { ModelDatabase } from "./model-database.ts";
import { ProxyOperations, type World } from "./operations.ts";

const HOUR_MS = 3_600_000;
/** A proxy that has so much under way begins nothing more. */
const MOST_AT_ONCE = 2;
const READING = /^(\/\* prepared: (find_caller|read_limits) |select )/;
/** No plan takes so many steps to its end: something goes round in a circle. */
const MOST_CLOSING_STEPS = 5_000;

interface Played {
  readonly violation: string | undefined;
  /** Every command and every step, in order. */
  readonly trace: readonly string[];
}

/** Plays a plan on an empty database. `rewrite` plants a defect. */
export async function play(
  database: ModelDatabase,
  plan: Plan,
  rewrite: (statement: string) => string = (statement) => statement,
): Promise<Played> {
  await database.empty();
  const stage = { database, clock: new VirtualClock(), runner: new StepRunner(database.observer), rewrite, trace: [] };
  const player = await TrafficPlayer.open(stage, { seats: SEATS, limits: plan.limits });
  try {
    const violation = (await player.playAll(plan.commands)) ?? (await player.finish());
    return { violation, trace: player.trace };
  } finally {
    await player.stop();
  }
}

/** Where proxies play. */
interface Stage {
  readonly database: Pick<ModelDatabase, "db" | "proxies" | "observer">;
  readonly clock: VirtualClock;
  readonly runner: StepRunner;
  readonly rewrite: (statement: string) => string;
  /** Every command and every step are added to it. */
  readonly trace: string[];
}

interface Proxy {
  readonly process: SimulatedProcess;
  readonly operations: ProxyOperations;
  underWay: number;
}

/** Two proxies, one statement at a time; the model is shown what stands in the database after each. */
export class TrafficPlayer {
  readonly trace: string[];
  /** The spend rows of their requests, as of the last look. */
  rows: readonly RowFact[] = [];
  readonly #table: Stage & { readonly world: World; readonly model: LimitModel };
  readonly #runner: StepRunner;
  readonly #proxies: Proxy[] = [];
  #instances = 0;
  #failure: string | undefined;

  private constructor(table: Stage & { readonly world: World; readonly model: LimitModel }) {
    this.#table = table;
    this.#runner = table.runner;
    this.trace = table.trace;
  }

  /** On a database without teams, keys and limits, or with the teams of the plans alone. */
  static async open(
    stage: Stage,
    { seats, limits }: { readonly seats: readonly Seat[]; readonly limits: readonly LimitPlan[] },
  ): Promise<TrafficPlayer> {
    const world = await ProxyOperations.prepare(stage.database.db, seats, limits);
    const model = new LimitModel(await readFacts(stage.database.observer), stage.clock.nowMs);
    const player = new TrafficPlayer({ ...stage, world, model });
    for (const index of stage.database.proxies.keys()) await player.#startProxy(index);
    return player;
  }

  async playAll(commands: readonly Command[]): Promise<string | undefined> {
    for (const command of commands) {
      this.trace.push(`# ${JSON.stringify(command)}`);
      const violation = await this.play(command);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  /** What is not as it must be, or undefined. */
  async play(command: Command): Promise<string | undefined> {
    switch (command.kind) {
      case "begin":
        await this.#begin(command.proxy, (operations) => operations.start(command.operation));
        return this.#work(command.proxy, command.steps, 999);
      case "work":
        return this.#work(command.proxy, command.steps, command.roll);
      case "crash":
        await this.#startProxy(command.proxy);
        return this.#look();
      case "lose_lock":
        await this.#table.database.proxies[command.proxy]?.life.query("select pg_advisory_unlock_all()");
        return undefined;
      case "cut":
        return this.#cut(command.proxy, command);
      case "time":
        this.#table.clock.pass(command.hours * HOUR_MS);
        return this.#look();
    }
  }

  /** In the place of the one that was there, which is killed. */
  async #startProxy(index: number): Promise<void> {
    const { database, clock, rewrite, world, model } = this.#table;
    const { clients = [], life } = database.proxies[index] ?? {};
    const former = this.#proxies[index];
    if (former) await former.process.kill(() => this.#runner.cancel(former.process));
    await this.#runner.settleBlocked();
    const instanceId = (this.#instances += 1);
    await life?.query("select pg_advisory_unlock_all()");
    const process = new SimulatedProcess({ clients, clock, rewrite });
    const operations = new ProxyOperations(process.db, { instanceId, world, model });
    await life?.query("select pg_advisory_lock($1::integer, $2::integer)", [operations.lockClass, instanceId]);
    this.#proxies[index] = { process, operations, underWay: 0 };
  }

  async #begin(index: number, operation: (operations: ProxyOperations) => Promise<unknown>): Promise<void> {
    const proxy = this.#proxies[index];
    if (!proxy || proxy.underWay >= MOST_AT_ONCE) return;
    proxy.underWay += 1;
    await proxy.process.begin(
      () => operation(proxy.operations).finally(() => (proxy.underWay -= 1)),
      (error) => (this.#failure ??= `a proxy failed: ${String(error)}`),
    );
  }

  /** The newest of what waits at `roll` 999, the oldest at 0. */
  async #work(index: number, steps: number, roll: number): Promise<string | undefined> {
    for (let step = 0; step < steps; step += 1) {
      const next = this.#take(index, roll);
      if (!next) return this.#failure;
      this.trace.push(`proxy ${index} ${next.label}`);
      await this.#runner.perform(next);
      await this.#runner.settleBlocked();
      // What only reads leaves everything as it was.
      const isPlain = READING.test(next.label) && !this.#table.model.isWaiting && this.#failure === undefined;
      const violation = isPlain ? undefined : await this.#look();
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  #take(index: number, roll: number): Step | undefined {
    const waiting = this.#proxies[index]?.process.waiting ?? [];
    return waiting.splice(Math.floor((roll * waiting.length) / 1_000), 1)[0];
  }

  async #cut(index: number, { isExecuted, roll }: { readonly isExecuted: boolean; readonly roll: number }): Promise<string | undefined> {
    const next = this.#take(index, roll);
    if (!next) return undefined;
    this.trace.push(`proxy ${index} ${next.label} [${isExecuted ? "executed, then cut" : "cut"}]`);
    await this.#runner.cut(next, isExecuted);
    await this.#runner.settleBlocked();
    return this.#look();
  }

  async #look(): Promise<string | undefined> {
    const { model, database, clock } = this.#table;
    const facts = await readFacts(database.observer);
    this.rows = facts.rows;
    return this.#failure ?? model.observe(facts, clock.nowMs) ?? this.#failure;
  }

  /** All that is under way ends; one proxy dies, and the other settles what it left, and then its own is settled, too. */
  async finish(): Promise<string | undefined> {
    this.trace.push("# the end");
    return (
      (await this.#untilAtRest()) ??
      (await this.#replaceAndRecover(0)) ??
      (await this.#replaceAndRecover(1)) ??
      (await this.#replaceAndRecover(0)) ??
      this.#table.model.findLeft()
    );
  }

  async #replaceAndRecover(index: number): Promise<string | undefined> {
    await this.#startProxy(index);
    await this.#begin(1 - index, (operations) => operations.start({ kind: "recover" }));
    return this.#untilAtRest();
  }

  async #untilAtRest(): Promise<string | undefined> {
    for (let step = 0; step < MOST_CLOSING_STEPS; step += 1) {
      const index = this.#proxies.findIndex(({ process }) => process.waiting.length > 0);
      if (index === -1) return this.#proxies.some(({ underWay }) => underWay > 0) ? "something never ended" : this.#failure;
      const violation = await this.#work(index, 1, 0);
      if (violation !== undefined) return violation;
    }
    return "the end was never reached";
  }

  async stop(): Promise<void> {
    for (const { process } of this.#proxies) await process.kill(() => this.#runner.cancel(process));
    for (const { life } of this.#table.database.proxies) await life.query("select pg_advisory_unlock_all()");
  }
}

import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from "kysely";
import type pg from "pg";
import type { Database, DatabaseClient } from "../src/index.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Something that a process waits for: a statement, or an answer of Autumn. It happens when the scheduler says so. */
export interface Step {
  readonly label: string;
  readonly kind: "statement" | "call";
  /** Virtual time at which the process came here. */
  readonly sinceMs: number;
  /** Where it happens, for a statement. */
  readonly connection: SimulatedConnection | undefined;
  /** Makes it happen and tells the process. Resolves when the process has come to rest again. */
  perform(): Promise<void>;
  /** Makes it happen, and the process does not hear of it. */
  execute(): Promise<void>;
  /** Breaks the connection and tells the process so. */
  fail(error: Error): Promise<void>;
}

/** Rewrites statements on their way: how a test plants a defect (`mutations.ts`). */
export type StatementRewrite = (statement: string) => string;

/** Lets every continuation of the process run until it waits for the scheduler again: none of them waits for anything else. */
const comeToRest = (): Promise<void> => new Promise((done) => setImmediate(done));

/**
 * One process of the real code, stopped before each statement and each call: nothing happens in it but what the scheduler
 * lets happen, so two of them interleave as a seed says. A killed one never hears of anything again.
 */
export class SimulatedProcess {
  readonly db: DatabaseClient;
  readonly waiting: Step[] = [];
  readonly #connections: readonly SimulatedConnection[];
  readonly #clock: VirtualClock;
  /** Resolves when the job has ended by itself. */
  job: Promise<void> | undefined;
  #isDead = false;

  constructor(options: { readonly clients: readonly pg.Client[]; readonly clock: VirtualClock; readonly rewrite: StatementRewrite }) {
    this.#clock = options.clock;
    this.#connections = options.clients.map((client) => new SimulatedConnection(client, this, options));
    this.db = new Kysely<Database>({ dialect: new SteppedDialect(() => this.#acquire()) });
  }

  /** Begins a job in this process; it rests at its first statement when the promise resolves. Its errors go to `onError`. */
  async begin(job: () => Promise<unknown>, onError: (error: unknown) => void): Promise<void> {
    const running = job().then(
      () => undefined,
      (error: unknown) => {
        if (!this.#isDead) onError(error);
      },
    );
    const ended = running.then(() => {
      if (this.job === ended) this.job = undefined;
    });
    this.job = ended;
    await comeToRest();
  }

  /** Waits for the scheduler's leave; then does `act` and goes on with its result. */
  wait<Result>(label: string, act: () => Promise<Result>, connection?: SimulatedConnection): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const settle = async (tell: () => void): Promise<void> => {
        if (this.#isDead) return;
        tell();
        await comeToRest();
      };
      this.waiting.push({
        label,
        kind: connection ? "statement" : "call",
        sinceMs: this.#clock.nowMs,
        connection,
        perform: () =>
          act().then(
            (result) => settle(() => resolve(result)),
            (error: unknown) => settle(() => reject(error as Error)),
          ),
        execute: () =>
          act().then(
            () => undefined,
            () => undefined,
          ),
        fail: async (error) => {
          await connection?.breakOff();
          await settle(() => reject(error));
        },
      });
    });
  }

  /**
   * kill -9. `cancelStatements` ends what waits for a lock; the process is dead by then, and hears of it as little as of
   * anything else. Resolves when PostgreSQL has rolled back what was open.
   */
  async kill(cancelStatements: () => Promise<void>): Promise<void> {
    this.#isDead = true;
    this.waiting.length = 0;
    this.job = undefined;
    await cancelStatements();
    for (const connection of this.#connections) await connection.reset();
  }

  owns(connection: SimulatedConnection): boolean {
    return this.#connections.includes(connection);
  }

  #acquire(): SimulatedConnection {
    const free = this.#connections.find((connection) => !connection.isTaken);
    if (!free) {
      const held = this.#connections.map((connection) => `${connection.isBusy ? "at" : "after"} ${connection.lastLabel}`);
      throw new Error(`the simulated process needs more connections than it was given; held: ${held.join("; ")}`);
    }
    free.isTaken = true;
    return free;
  }
}

/** A connection of a simulated process: a real one to the real PostgreSQL, whose statements wait for the scheduler. */
class SimulatedConnection implements DatabaseConnection {
  isTaken = false;
  /** True while a statement is with PostgreSQL. */
  isBusy = false;
  /** The statement that it had last. */
  lastLabel = "nothing";
  readonly client: pg.Client;
  readonly #process: SimulatedProcess;
  readonly #clock: VirtualClock;
  readonly #rewrite: StatementRewrite;
  #transaction: "none" | "asked_for" | "open" = "none";
  /** What the session takes for the time now, and for the time at which its transaction began. */
  #clockMs: number | undefined;
  #begunMs: number | undefined;

  constructor(client: pg.Client, process: SimulatedProcess, options: { readonly clock: VirtualClock; readonly rewrite: StatementRewrite }) {
    this.client = client;
    this.#process = process;
    this.#clock = options.clock;
    this.#rewrite = options.rewrite;
  }

  /** `begin` goes with the first statement: alone it changes nothing, and it would be one more step. */
  begin(): void {
    this.#transaction = "asked_for";
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    const text = this.#rewrite(query.sql);
    this.lastLabel = labelOf(text);
    const result = await this.#process.wait(
      labelOf(text),
      () =>
        this.#run(async () => {
          if (this.#transaction === "asked_for") {
            await this.client.query("begin");
            this.#transaction = "open";
          }
          return this.client.query<Row & pg.QueryResultRow>({ name: nameOf(text), text, values: query.parameters as unknown[] });
        }),
      this,
    );
    // Where a statement states no order, PostgreSQL's is an accident of its pages: here it is always the same.
    const rows = /order by [^()]*$/.test(text) ? result.rows : result.rows.toSorted(byContent);
    return { rows, ...(result.command === "SELECT" ? {} : { numAffectedRows: BigInt(result.rowCount ?? 0) }) };
  }

  async end(statement: "commit" | "rollback"): Promise<void> {
    const wasOpen = this.#transaction === "open";
    if (this.#transaction === "asked_for") this.#transaction = "none";
    if (!wasOpen) return;
    await this.#process.wait(
      statement,
      () =>
        this.#run(async () => {
          this.#transaction = "none";
          if (statement === "rollback") this.#forgetClock();
          return this.client.query(statement);
        }),
      this,
    );
  }

  streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    throw new Error("streams are not simulated");
  }

  /** The process is gone. */
  async reset(): Promise<void> {
    this.isTaken = false;
    await this.breakOff();
  }

  /** What PostgreSQL does when it sees a connection end; the process goes on with another. */
  async breakOff(): Promise<void> {
    this.#transaction = "none";
    this.#forgetClock();
    await this.client.query("rollback; select pg_advisory_unlock_all()");
  }

  /** What is set within a transaction goes with it. */
  #forgetClock(): void {
    this.#clockMs = undefined;
    this.#begunMs = undefined;
  }

  async #setClock(): Promise<void> {
    const { nowMs } = this.#clock;
    const begunMs = this.#transaction === "open" && this.#begunMs !== undefined ? this.#begunMs : nowMs;
    if (this.#clockMs === nowMs && this.#begunMs === begunMs) return;
    await this.client.query({
      name: "clock",
      text: "select set_config('llm_gateway.virtual_now', $1, false), set_config('llm_gateway.virtual_begun', $2, false)",
      values: [this.#clock.timestamp(), new Date(begunMs).toISOString()],
    });
    this.#clockMs = nowMs;
    this.#begunMs = begunMs;
  }

  async #run<Result>(act: () => Promise<Result>): Promise<Result> {
    this.isBusy = true;
    try {
      await this.#setClock();
      return await act();
    } finally {
      this.isBusy = false;
    }
  }
}

function byContent(a: object, b: object): number {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}

/** The first words and the first table: enough to follow a trace. */
function labelOf(statement: string): string {
  const words = statement.replaceAll(/\s+/g, " ").trim();
  return words.length > 70 ? `${words.slice(0, 70)}…` : words;
}

const names = new Map<string, string>();

/** Prepared once a connection: a seed runs few statements many times. */
function nameOf(statement: string): string {
  let name = names.get(statement);
  if (name === undefined) names.set(statement, (name = `s${names.size}`));
  return name;
}

class SteppedDialect implements Dialect {
  readonly #acquire: () => SimulatedConnection;

  constructor(acquire: () => SimulatedConnection) {
    this.#acquire = acquire;
  }

  createDriver(): Driver {
    return {
      init: async () => undefined,
      acquireConnection: async () => this.#acquire(),
      beginTransaction: async (connection) => (connection as SimulatedConnection).begin(),
      commitTransaction: async (connection) => (connection as SimulatedConnection).end("commit"),
      rollbackTransaction: async (connection) => (connection as SimulatedConnection).end("rollback"),
      releaseConnection: async (connection) => void ((connection as SimulatedConnection).isTaken = false),
      destroy: async () => undefined,
    };
  }

  createQueryCompiler = (): PostgresQueryCompiler => new PostgresQueryCompiler();
  createAdapter = (): PostgresAdapter => new PostgresAdapter();
  createIntrospector = (db: Kysely<never>): PostgresIntrospector => new PostgresIntrospector(db);
}

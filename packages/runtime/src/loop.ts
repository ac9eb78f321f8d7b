import type { Stoppable } from "./lifecycle.ts";
import { Counter, Gauge, type Registry } from "./metrics.ts";

/** What a loop takes from the machine; a test gives its own, so that no test waits. */
export interface LoopClock {
  /** Milliseconds since 1970, for the metric of the last success. */
  nowMs(): number;
  /** Calls `then` once after `ms`; the function that it returns takes that back. */
  after(ms: number, then: () => void): () => void;
  /** At least 0, below 1. */
  random(): number;
}

/** The one process of several that does what one is enough for. `ProcessLock.leader` of `packages/db` makes one. */
export interface Leader {
  /** True while this process leads; it asks for the lead when nobody has it. May throw: the run then counts as failed. */
  lead(): Promise<boolean>;
  /** Gives the lead back, so that another process may try. Does nothing where this process does not lead. May throw. */
  resign(): Promise<void>;
}

/** How a loop of {@link startLoop} begins, ends its runs, reports and counts. */
export interface LoopOptions {
  /** Receives what a run threw, and a {@link LoopTimeout} for a run that took too long. What it throws itself is dropped. */
  readonly onError: (error: unknown) => void;
  /** When the first run begins: at once, or after the first pause. Default `now`. */
  readonly first?: "now" | "after a pause";
  /** Every pause is `everyMs` plus or minus up to this part of it, so that many processes do not ask at one moment. Default 0.1. */
  readonly jitter?: number;
  /** After so long a run's signal is aborted and the run counts as timed out. Default ten times `everyMs`, and one minute at least. */
  readonly timeoutMs?: number;
  /** Absent: every process runs the work. */
  readonly leader?: Leader;
  /** Where the runs are counted; absent: nowhere. Loops of one process share it. */
  readonly registry?: Registry;
  readonly clock?: LoopClock;
}

/** What a run is told by its signal, and `onError` by its argument, when it takes longer than `timeoutMs`. */
export class LoopTimeout extends Error {
  constructor(name: string, timeoutMs: number) {
    super(`a run of the loop ${name} has taken longer than ${timeoutMs} ms`);
    this.name = "LoopTimeout";
  }
}

const DEFAULT_JITTER = 0.1;
const LEAST_TIMEOUT_MS = 60_000;

const SYSTEM_CLOCK: LoopClock = {
  nowMs: Date.now,
  after: (ms, then) => {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

/**
 * Repeats `work` with a pause of about `everyMs` between the end of one run and the beginning of the next, until it is stopped.
 *
 * - Two runs never overlap, not even after a time-out: work that ignores its signal holds up the next run, not the process.
 * - What a run throws is reported, and the next run comes all the same.
 * - With a leader, only the process that leads runs; it resigns after a run that failed or timed out, so that a process that
 *   cannot do the work does not keep it from the others. Two may lead for a moment when a connection breaks: work may run twice.
 * - `stop` is idempotent: it begins no run any more, aborts the signal of the one that runs, waits for its end, and resigns.
 */
export function startLoop(name: string, everyMs: number, work: (signal: AbortSignal) => Promise<unknown>, options: LoopOptions): Stoppable {
  const loop = new Loop(name, everyMs, work, options);
  loop.start();
  return loop;
}

type Outcome = "succeeded" | "failed" | "timed_out" | "not_leading";

class Loop implements Stoppable {
  readonly #name: string;
  readonly #everyMs: number;
  readonly #work: (signal: AbortSignal) => Promise<unknown>;
  readonly #options: LoopOptions;
  readonly #clock: LoopClock;
  readonly #counts: LoopCounts | undefined;
  #cancelPause: () => void = () => undefined;
  #abort = new AbortController();
  #run: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  constructor(name: string, everyMs: number, work: (signal: AbortSignal) => Promise<unknown>, options: LoopOptions) {
    this.#name = name;
    this.#everyMs = everyMs;
    this.#work = work;
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#counts = options.registry && countsIn(options.registry);
  }

  start(): void {
    if (this.#options.first === "after a pause") this.#pause();
    else this.#begin();
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#cancelPause();
      this.#abort.abort(new Error(`the loop ${this.#name} is stopped`));
      await this.#run;
      await this.#resign();
    })();
    return this.#stopping;
  }

  #pause(): void {
    const { jitter = DEFAULT_JITTER } = this.#options;
    const ms = this.#everyMs * (1 + jitter * (2 * this.#clock.random() - 1));
    this.#cancelPause = this.#clock.after(ms, () => this.#begin());
  }

  #begin(): void {
    this.#run = this.#runOnce().then(() => {
      if (this.#stopping === undefined) this.#pause();
    });
  }

  /** Never rejects. */
  async #runOnce(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    const { timeoutMs = Math.max(LEAST_TIMEOUT_MS, 10 * this.#everyMs) } = this.#options;
    let outcome: Outcome | undefined;
    let resigned: Promise<void> | undefined;
    const end = (how: Outcome, error?: unknown): void => {
      if (outcome !== undefined) return;
      outcome = how;
      this.#count(how);
      if (error !== undefined && !isAbort(error, abort.signal)) this.#report(error);
      if (how === "failed" || how === "timed_out") resigned = this.#resign();
    };
    const cancelTimeout = this.#clock.after(timeoutMs, () => {
      const error = new LoopTimeout(this.#name, timeoutMs);
      end("timed_out", error);
      abort.abort(error);
    });
    try {
      const leads = (await this.#options.leader?.lead()) ?? true;
      // Stopped, or out of time, while it asked: the work has not begun, and does not any more; a lead that came late is given back.
      if (abort.signal.aborted) {
        outcome ??= "not_leading";
        resigned = this.#resign();
      } else if (leads) {
        await this.#work(abort.signal);
        end("succeeded");
      } else {
        end("not_leading");
      }
    } catch (error) {
      end("failed", error);
    }
    cancelTimeout();
    await resigned;
  }

  async #resign(): Promise<void> {
    try {
      await this.#options.leader?.resign();
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // A loop outlives whoever cannot write its problems down.
    }
  }

  #count(outcome: Outcome): void {
    this.#counts?.runs.inc({ loop: this.#name, outcome });
    if (outcome === "succeeded") this.#counts?.lastSuccess.set({ loop: this.#name }, this.#clock.nowMs() / 1_000);
  }
}

/** Work that ended because its signal said so did what it was asked for: that is no problem to report. */
function isAbort(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (error === signal.reason || (error instanceof Error && error.name === "AbortError"));
}

interface LoopCounts {
  readonly runs: Counter<"loop" | "outcome">;
  readonly lastSuccess: Gauge<"loop">;
}

const COUNTS = new WeakMap<Registry, LoopCounts>();

/** The metrics of all loops that count in this registry; made with the first of them. */
function countsIn(registry: Registry): LoopCounts {
  const known = COUNTS.get(registry);
  if (known !== undefined) return known;
  const made: LoopCounts = {
    runs: new Counter({
      name: "llm_gateway_loop_runs_total",
      help: "Runs of what this process repeats, by outcome: succeeded, failed, timed_out, not_leading",
      labelNames: ["loop", "outcome"],
      registers: [registry],
    }),
    lastSuccess: new Gauge({
      name: "llm_gateway_loop_last_success_timestamp_seconds",
      help: "When a run of it succeeded last, in seconds since 1970; absent before the first",
      labelNames: ["loop"],
      registers: [registry],
    }),
  };
  COUNTS.set(registry, made);
  return made;
}

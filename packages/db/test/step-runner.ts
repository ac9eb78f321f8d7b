import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import type { SimulatedProcess, Step } from "./simulated-process.ts";

interface RunningStep {
  readonly step: Step;
  readonly done: Promise<void>;
  isDone: boolean;
}

/** How long a statement may take before it is asked whether it waits for a lock. Only a matter of speed. */
const PATIENCE_MS = 3;
/** A step that is neither done nor waiting for a lock by then will never be. */
const STEP_TIMEOUT_MS = 20_000;

/**
 * Performs steps one at a time. A statement that waits for another process's lock is left waiting, and found again when
 * that lock was given back: whether it waits is PostgreSQL's word, so it does not depend on how fast the machine is.
 */
export class StepRunner {
  readonly #observer: pg.Client;
  readonly #blocked = new Set<RunningStep>();

  constructor(observer: pg.Client) {
    this.#observer = observer;
  }

  /** Resolves when the step is done and its process rests, or when the step waits for a lock. */
  async perform(step: Step): Promise<void> {
    await this.#untilDoneOrBlocked(start(step, step.perform()));
  }

  /** The process sees its connection break; PostgreSQL executed the statement before, or not. One that waits for a lock was not. */
  async cut(step: Step, isExecuted: boolean): Promise<void> {
    if (isExecuted) {
      const running = start(step, step.execute());
      await this.#untilDoneOrBlocked(running);
      if (!running.isDone) await this.#cancel(running);
    }
    await step.fail(Object.assign(new Error("Connection terminated unexpectedly"), { code: "08006" }));
  }

  /** Call after anything that may have given locks back. */
  async settleBlocked(): Promise<void> {
    const blocked = [...this.#blocked];
    for (const running of blocked) await this.#untilDoneOrBlocked(running);
  }

  /** Ends the statements of a process that is being killed. */
  async cancel(process: SimulatedProcess): Promise<void> {
    const blocked = [...this.#blocked];
    for (const running of blocked) {
      if (running.step.connection && process.owns(running.step.connection)) await this.#cancel(running);
    }
  }

  async #cancel(running: RunningStep): Promise<void> {
    await this.#observer.query("select pg_cancel_backend($1)", [processIdOf(running.step)]);
    await running.done;
    this.#blocked.delete(running);
  }

  async #untilDoneOrBlocked(running: RunningStep): Promise<void> {
    this.#blocked.delete(running);
    const startedAt = performance.now();
    while (!running.isDone) {
      if (performance.now() - startedAt > STEP_TIMEOUT_MS) throw new Error(`stuck at: ${running.step.label}`);
      const timer = new AbortController();
      await Promise.race([running.done, delay(PATIENCE_MS, undefined, { signal: timer.signal }).catch(() => undefined)]);
      timer.abort();
      if (!running.isDone && (await this.#isBlocked(running.step))) {
        this.#blocked.add(running);
        return;
      }
    }
  }

  async #isBlocked(step: Step): Promise<boolean> {
    if (!step.connection) return false;
    const { rows } = await this.#observer.query<{ is_blocked: boolean }>({
      name: "blocked",
      text: "select cardinality(pg_blocking_pids($1)) > 0 as is_blocked",
      values: [processIdOf(step)],
    });
    return rows[0]?.is_blocked ?? false;
  }
}

function start(step: Step, done: Promise<void>): RunningStep {
  const running: RunningStep = { step, done, isDone: false };
  void done.then(() => (running.isDone = true));
  return running;
}

function processIdOf(step: Step): number {
  return (step.connection?.client as { processID?: number } | undefined)?.processID ?? 0;
}

import fc from "fast-check";
import { expect, test } from "vitest";
import { type LoopClock, type LoopOptions, LoopTimeout, startLoop } from "./loop.ts";
import { Registry } from "./metrics.ts";

/** Time passes only when a test says so; after each timer everything that it set off has run to where it waits. */
class FakeClock implements LoopClock {
  #nowMs = 0;
  #timers = new Set<{ readonly atMs: number; readonly call: () => void }>();
  readonly chances: number[] = [];

  nowMs = (): number => this.#nowMs;
  random = (): number => this.chances.shift() ?? 0.5;
  after = (ms: number, then: () => void): (() => void) => {
    const timer = { atMs: this.#nowMs + ms, call: then };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  get waits(): readonly number[] {
    return [...this.#timers].map(({ atMs }) => atMs - this.#nowMs);
  }

  async pass(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const [next] = [...this.#timers].filter(({ atMs }) => atMs <= untilMs).sort((one, other) => one.atMs - other.atMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = next.atMs;
      next.call();
      await settle();
    }
    this.#nowMs = untilMs;
  }
}

/** Lets every promise that is ready go on. */
const settle = async (): Promise<void> => new Promise((done) => setImmediate(done));

const optionsOf = (clock: LoopClock, options: Partial<LoopOptions> = {}): LoopOptions => ({
  clock,
  jitter: 0,
  onError: (error) => expect.unreachable(String(error)),
  ...options,
});

test("a loop runs at once and then after each pause; `after a pause` leaves out the first", async () => {
  const clock = new FakeClock();
  const ran: string[] = [];
  const first = startLoop("first", 100, async () => ran.push("first"), optionsOf(clock));
  const later = startLoop("later", 100, async () => ran.push("later"), optionsOf(clock, { first: "after a pause" }));

  await clock.pass(250);

  expect(ran.filter((name) => name === "first")).toHaveLength(3);
  expect(ran.filter((name) => name === "later")).toHaveLength(2);
  await Promise.all([first.stop(), later.stop()]);
  await clock.pass(1_000);
  expect(ran).toHaveLength(5);
  expect(clock.waits).toEqual([]);
});

test("pauses differ by the jitter, and never by more", async () => {
  const clock = new FakeClock();
  clock.chances.push(0, 0.5, 0.999_999);
  const loop = startLoop("jitter", 1_000, async () => undefined, optionsOf(clock, { jitter: 0.25 }));
  const pauses: number[] = [];
  for (let count = 0; count < 3; count += 1) {
    await settle();
    const [pause = Number.NaN] = clock.waits;
    pauses.push(Math.round(pause));
    await clock.pass(pause);
  }

  expect(pauses).toEqual([750, 1_000, 1_250]);
  await loop.stop();
});

test("what a run throws is reported, also when it throws before its first await and when the report itself throws", async () => {
  const clock = new FakeClock();
  const reported: unknown[] = [];
  const failures = [
    async () => Promise.reject(new Error("later")),
    () => {
      throw new Error("at once");
    },
    async () => undefined,
  ];
  const loop = startLoop("failing", 10, () => (failures.shift() ?? (async () => undefined))(), {
    ...optionsOf(clock),
    onError: (error) => {
      reported.push((error as Error).message);
      throw new Error("the log is full");
    },
  });

  await clock.pass(35);

  expect(reported).toEqual(["later", "at once"]);
  expect(failures).toEqual([]);
  await loop.stop();
});

test("a run that takes too long is told and reported once, and the next begins only when it has ended", async () => {
  const clock = new FakeClock();
  const registry = new Registry();
  const reported: unknown[] = [];
  const signals: AbortSignal[] = [];
  const ends: PromiseWithResolvers<void>[] = [];
  const work = async (signal: AbortSignal): Promise<void> => {
    signals.push(signal);
    ends.push(Promise.withResolvers());
    await ends.at(-1)?.promise;
  };
  const loop = startLoop("slow", 10, work, { ...optionsOf(clock, { timeoutMs: 100, registry }), onError: (error) => reported.push(error) });

  await clock.pass(1_000);
  expect(signals).toHaveLength(1);
  expect(signals[0]?.reason).toBeInstanceOf(LoopTimeout);
  ends[0]?.resolve();
  await clock.pass(15);

  expect(signals).toHaveLength(2);
  expect(reported).toEqual([expect.any(LoopTimeout)]);
  expect(await registry.metrics()).toContain('llm_gateway_loop_runs_total{loop="slow",outcome="timed_out"} 1');
  expect(await registry.metrics()).not.toContain('outcome="succeeded"');
  ends[1]?.resolve();
  await loop.stop();
});

test("stop tells the run that is under way, waits for its end, and what the run ends with for that reason is no problem", async () => {
  const clock = new FakeClock();
  let isOver = false;
  const end = Promise.withResolvers<void>();
  const work = async (signal: AbortSignal): Promise<void> => {
    await new Promise((_, fail) => signal.addEventListener("abort", () => fail(signal.reason))).catch(async (reason: unknown) => {
      await end.promise;
      isOver = true;
      throw reason;
    });
  };
  const loop = startLoop("stopped", 10, work, optionsOf(clock));
  await settle();
  let isStopped = false;
  const stopping = loop.stop().then(() => (isStopped = true));

  await settle();
  expect({ isStopped, isOver }).toEqual({ isStopped: false, isOver: false });
  end.resolve();
  await stopping;

  expect(isOver).toBe(true);
  expect(clock.waits).toEqual([]);
  await loop.stop();
});

test("of several processes one runs; after a failure or a time-out it resigns, and another one runs", async () => {
  const clock = new FakeClock();
  let holder: string | undefined;
  const ran: string[] = [];
  const start = (name: string, work: () => Promise<void>, onError: (error: unknown) => void = () => undefined) =>
    startLoop("led", 10, work, {
      ...optionsOf(clock),
      onError,
      leader: {
        lead: async () => (holder ??= name) === name,
        resign: async () => {
          if (holder === name) holder = undefined;
        },
      },
    });
  let fails = false;
  const one = start("one", async () => {
    ran.push("one");
    if (fails) throw new Error("this process cannot");
  });
  const other = start("other", async () => void ran.push("other"));

  await clock.pass(45);
  expect(new Set(ran)).toEqual(new Set(["one"]));
  fails = true;
  await clock.pass(50);
  expect(ran.at(-1)).toBe("other");
  const before = ran.length;
  await other.stop();
  await clock.pass(15);

  expect(holder).toBe(undefined);
  expect(ran.slice(before)).toContain("one");
  await one.stop();
});

test("review 2: a run that took too long to hear that it leads does not begin its work, and gives the lead back", async () => {
  const clock = new FakeClock();
  const asked = Promise.withResolvers<boolean>();
  let leads = false;
  let begun = 0;
  const loop = startLoop("led", 10, async () => void (begun += 1), {
    ...optionsOf(clock, { timeoutMs: 100 }),
    onError: () => undefined,
    leader: { lead: async () => (leads = await asked.promise), resign: async () => void (leads = false) },
  });

  await clock.pass(150);
  asked.resolve(true);
  await clock.pass(5);

  expect({ begun, leads }).toEqual({ begun: 0, leads: false });
  await loop.stop();
});

test("a leader that cannot be asked is a failed run; the loop goes on", async () => {
  const clock = new FakeClock();
  const reported: string[] = [];
  const loop = startLoop("led", 10, async () => expect.unreachable("it does not lead"), {
    ...optionsOf(clock),
    onError: (error) => reported.push((error as Error).message),
    leader: { lead: async () => Promise.reject(new Error("away")), resign: async () => Promise.reject(new Error("away, too")) },
  });

  await clock.pass(15);

  expect(reported).toEqual(["away", "away, too", "away", "away, too"]);
  await loop.stop();
});

test("whatever runs do and however long they take, none overlaps, none is lost, and all are counted", async () => {
  const run = fc.record({ takesMs: fc.integer({ min: 0, max: 500 }), fails: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 6_000 }), async (runs, stopAfterMs) => {
      const clock = new FakeClock();
      const registry = new Registry();
      const seen = { running: 0, most: 0, begun: 0, reported: 0 };
      const work = async (): Promise<void> => {
        const { takesMs, fails } = runs[seen.begun % runs.length] ?? { takesMs: 0, fails: false };
        seen.begun += 1;
        seen.running += 1;
        seen.most = Math.max(seen.most, seen.running);
        await new Promise<void>((done) => clock.after(takesMs, done));
        seen.running -= 1;
        if (fails) throw new Error("one of them");
      };
      const onError = (): void => void (seen.reported += 1);
      const loop = startLoop("any", 50, work, { clock, registry, timeoutMs: 300, onError });
      await clock.pass(stopAfterMs);
      const stopping = loop.stop();
      await clock.pass(1_000);
      await stopping;

      const text = await registry.metrics();
      const counted = [...text.matchAll(/^llm_gateway_loop_runs_total\{.*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
      expect({ most: seen.most, running: seen.running, counted }).toEqual({ most: 1, running: 0, counted: seen.begun });
      expect(clock.waits).toEqual([]);
    }),
    { numRuns: 100 },
  );
});

import { setImmediate } from "node:timers/promises";
import { createLogger, type LoopOptions } from "@proliferate/runtime";
import { expect, onTestFinished, test } from "vitest";
import { LOOK_EVERY_MS, Pings } from "./pings.ts";

/** What is to happen after each pause between two looks; it happens when the test says so. */
class Looks {
  #next: (() => void) | undefined;

  readonly clock: NonNullable<LoopOptions["clock"]> = {
    nowMs: () => 0,
    random: () => 0.5,
    after: (ms, then) => {
      if (ms !== LOOK_EVERY_MS) return () => undefined;
      this.#next = then;
      return () => void (this.#next = undefined);
    },
  };

  /** Lets the pause end, and the look run to its end. */
  async look(): Promise<void> {
    const next = this.#next;
    if (!next) throw new Error("no look is due");
    this.#next = undefined;
    next();
    for (let turn = 0; turn < 50 && !this.#next; turn += 1) await setImmediate();
  }

  get isDue(): boolean {
    return this.#next !== undefined;
  }
}

/** A caller that takes pings, or none. */
class Stream {
  count = 0;
  pings = 0;
  takesPings = true;
  sends = (): number => this.count;
  ping = (): void => {
    if (!this.takesPings) return;
    this.pings += 1;
    this.count += 1;
  };
}

function start(): { readonly looks: Looks; readonly pings: Pings } {
  const looks = new Looks();
  const pings = new Pings({ logger: createLogger("test", "silent"), clock: looks.clock });
  onTestFinished(() => pings.stop());
  return { looks, pings };
}

test("a stream that was silent between two looks gets a ping, and one more at each look until something is sent", async () => {
  const { looks, pings } = start();
  const stream = new Stream();
  pings.follow(stream);

  const seen: number[] = [];
  for (let look = 0; look < 4; look += 1) {
    await looks.look();
    seen.push(stream.pings);
  }
  stream.count += 1;
  await looks.look();
  seen.push(stream.pings);

  expect(seen).toEqual([0, 1, 2, 3, 3]);
  expect(2 * LOOK_EVERY_MS).toBeLessThan(15_000);
});

test("a stream on which something is sent gets none, nor one that is followed no more", async () => {
  const { looks, pings } = start();
  const [fast, over] = [new Stream(), new Stream()];
  pings.follow(fast);
  pings.follow(over)();

  for (let look = 0; look < 5; look += 1) {
    await looks.look();
    fast.count += 1;
  }

  expect([fast.pings, over.pings]).toEqual([0, 0]);
});

test("a stream that takes no ping is asked at each look, and one among many thousands is not forgotten", async () => {
  const { looks, pings } = start();
  const full = new Stream();
  full.takesPings = false;
  const streams = Array.from({ length: 2_000 }, () => new Stream());
  for (const stream of [full, ...streams]) pings.follow(stream);

  await looks.look();
  await looks.look();
  full.takesPings = true;
  await looks.look();

  expect(full.pings).toBe(1);
  expect(streams.every((stream) => stream.pings === 2)).toBe(true);
});

test("there is one timer for all streams, and none after the stop", async () => {
  const { looks, pings } = start();
  for (let count = 0; count < 100; count += 1) pings.follow(new Stream());
  expect(looks.isDue).toBe(true);

  await pings.stop();

  expect(looks.isDue).toBe(false);
});

import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { discardRest } from "./read-body.ts";

const MB = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** A refused body that always has more for whoever reads. */
class EndlessBody extends IncomingMessage {
  taken = 0;

  constructor() {
    super(new Socket());
    this.on("data", (chunk: Buffer) => void (this.taken += chunk.length));
    this.pause();
    onTestFinished(() => void this.destroy());
  }

  override _read(): void {
    this.push(Buffer.alloc(CHUNK_BYTES));
  }
}

/** What is dropped of so many bodies in the first seconds, in bytes. */
async function dropped(count: number, seconds: number): Promise<number> {
  const bodies = Array.from({ length: count }, () => new EndlessBody());
  for (const body of bodies) discardRest(body);
  await vi.advanceTimersByTimeAsync(seconds * 1_000);
  const bytes = bodies.reduce((sum, body) => sum + body.taken, 0);
  for (const body of bodies) body.destroy();
  await vi.advanceTimersByTimeAsync(0);
  return bytes;
}

test("hostile 8: refused bodies are dropped at 1 MB a second each, and at 16 MB a second all together, however many there are", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  // The first piece of each is read before anything is known of it.
  expect(await dropped(1, 5)).toBeLessThanOrEqual(5 * MB + CHUNK_BYTES);
  expect(await dropped(1, 5)).toBeGreaterThanOrEqual(4 * MB);
  expect(await dropped(200, 5)).toBeLessThanOrEqual(5 * 16 * MB + 200 * CHUNK_BYTES);
  expect(await dropped(200, 5)).toBeGreaterThanOrEqual(4 * 16 * MB);
  // Those that are over have no share any more.
  expect(await dropped(1, 5)).toBeGreaterThanOrEqual(4 * MB);
});

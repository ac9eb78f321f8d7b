import { setTimeout as delay } from "node:timers/promises";

/**
 * Limits in tests are bounds against hanging, never measures: how long a thing takes says more about the machine than about
 * the product. Every limit is written as it would be on the reference machine and passes through here, where it grows by
 * the factor that vitest.config.ts measured before the first test, or that TEST_PATIENCE says.
 */
const FACTOR = Math.max(1, Number(process.env["TEST_PATIENCE"]) || 1);

/** A limit of so many milliseconds on the reference machine, as long as it must be on this one. */
export function patience(referenceMs: number): number {
  return Math.ceil(referenceMs * FACTOR);
}

/** Resolves with the value once it holds, looked at every 25 ms; throws with the last one when it never does. */
export async function until<Value>(
  read: () => Value | Promise<Value>,
  holds: (value: Awaited<Value>) => boolean = Boolean,
  everyMs = 25,
): Promise<Awaited<Value>> {
  const limitMs = patience(30_000);
  const startedAt = performance.now();
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
    if (performance.now() - startedAt > limitMs)
      throw new Error(`Not so within ${limitMs} ms: ${JSON.stringify(value)}; ${holds === Boolean ? read : holds}`);
    await delay(everyMs);
  }
}

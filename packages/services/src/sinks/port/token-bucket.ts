import { setTimeout as delay } from "node:timers/promises";

/** Bounds how often something may be done in a time. */
interface TokenBucket {
  /** Resolves when one more call may be made; first come, first served. */
  take(): Promise<void>;
}

/** Lets `perSecond` calls a second through, and as many at once after a pause of a second. Of this process only. */
export function createTokenBucket(perSecond: number): TokenBucket {
  const intervalMs = 1_000 / perSecond;
  // The next call may begin at this moment. It may lie up to one second in the past: at 50 calls a second, 50 calls may then begin at once.
  let freeAt = Number.NEGATIVE_INFINITY;
  return {
    async take() {
      const now = performance.now();
      freeAt = Math.max(freeAt, now - 1_000) + intervalMs;
      if (freeAt > now) await delay(freeAt - now);
    },
  };
}

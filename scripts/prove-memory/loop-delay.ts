import { monitorEventLoopDelay } from "node:perf_hooks";

/** How late timers were since the last question, in ms: what whatever comes next has to wait, the proxy's own work and the machine's other processes together. */
export interface LoopDelay {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Imported into the proxy that is watched (`node --import`); answers each message of its parent with what was seen since the last one. */
const RESOLUTION_MS = 2;
const NS_PER_MS = 1e6;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();

/** Node's figures are the time between two looks. */
const late = (percentile: number): number => Math.max(0, delay.percentile(percentile) / NS_PER_MS - RESOLUTION_MS);

process.on("message", (message) => {
  if (message !== "loop delay") return;
  process.send?.({ p50Ms: late(50), p99Ms: late(99) } satisfies LoopDelay);
  delay.reset();
});

import { constants, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks";

/** What a proxy tells of itself since the last question. Milliseconds. */
export interface Inside {
  /** How late timers were: what whatever comes next has to wait, the proxy's own work and the machine's other processes together. */
  readonly loopP50Ms: number;
  readonly loopP99Ms: number;
  readonly collections: Readonly<Record<CollectionKind, Collections>>;
}

/** Of one kind: how many, for how long the main thread stood still in all, and for how long at most. */
interface Collections {
  readonly count: number;
  readonly ms: number;
  readonly mostMs: number;
}

type CollectionKind = "young" | "old" | "step";

/** Imported into the proxy that is watched (`node --import`); answers each message of its parent with what was seen since the last one. */
const RESOLUTION_MS = 2;
const NS_PER_MS = 1e6;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();

const seen: Record<CollectionKind, { count: number; ms: number; mostMs: number }> = {
  young: { count: 0, ms: 0, mostMs: 0 },
  old: { count: 0, ms: 0, mostMs: 0 },
  step: { count: 0, ms: 0, mostMs: 0 },
};

/** Of Node's kinds; all others are steps of a collection of the old generation that runs beside the work. */
function kindOf(kind: unknown): CollectionKind {
  if (kind === constants.NODE_PERFORMANCE_GC_MINOR) return "young";
  return kind === constants.NODE_PERFORMANCE_GC_MAJOR ? "old" : "step";
}

new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const of = seen[kindOf((entry as { readonly detail?: { readonly kind?: unknown } }).detail?.kind)];
    of.count += 1;
    of.ms += entry.duration;
    of.mostMs = Math.max(of.mostMs, entry.duration);
  }
}).observe({ entryTypes: ["gc"] });

/** Node's figures are the time between two looks. */
const late = (percentile: number): number => Math.max(0, delay.percentile(percentile) / NS_PER_MS - RESOLUTION_MS);

process.on("message", (message) => {
  if (message !== "inside") return;
  process.send?.({ loopP50Ms: late(50), loopP99Ms: late(99), collections: seen } satisfies Inside);
  delay.reset();
  for (const of of Object.values(seen)) Object.assign(of, { count: 0, ms: 0, mostMs: 0 });
});

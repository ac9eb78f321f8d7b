import { spawnSync } from "node:child_process";

/** What both take on an idle core of the machine on which the limits were written. */
const REFERENCE_MS = { loop: 55, processStart: 45 } as const;
const ROUNDS = 3;
const LARGEST = 20;

/** How many times slower this machine is now than the one on which the limits were written: a whole number from 1 to 20. Takes half a second on that one. */
export function measurePatience(): number {
  const loop = medianMs(countUp) / REFERENCE_MS.loop;
  const processStart = medianMs(() => void spawnSync(process.execPath, ["-e", ""])) / REFERENCE_MS.processStart;
  return patienceFor(Math.max(loop, processStart));
}

/** Never below 1: a fast machine gains nothing from short limits. Never above 20: what hangs must end. */
export function patienceFor(slowness: number): number {
  return Math.min(LARGEST, Math.max(1, Math.ceil(slowness - 0.5)));
}

function medianMs(work: () => void): number {
  const times = Array.from({ length: ROUNDS }, () => {
    const startedAt = performance.now();
    work();
    return performance.now() - startedAt;
  });
  return times.toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0;
}

function countUp(): void {
  let sum = 0;
  for (let index = 0; index < 15_000_000; index += 1) sum = (sum + index * 7) % 1_000_003;
  if (sum < 0) throw new Error("unreachable");
}
